"""Access to the registers of one chip through Blinka's generic Linux I2C bus.

Source: Documentation/i2c/dev-interface.rst and fault-codes.rst of the kernel.
"""

from collections.abc import Callable
import errno
from typing import TYPE_CHECKING, Final

from ..errors import (
    BadFrameError,
    DeviceAccessError,
    DeviceNotFoundError,
    DriverError,
    Fault,
)
from ..sysfs import I2cAdapter, is_as_before
from .blinka import import_bus

if TYPE_CHECKING:
    from adafruit_blinka.microcontroller.generic_linux.i2c import I2C

# The driver of the adapter decides which of them means that no chip answers.
NO_ACKNOWLEDGE_ERRNOS: Final = {errno.EREMOTEIO, errno.ENXIO}
# Many USB adapters report a missing chip as a time-out, without waiting.
USB_ERRNOS: Final = {errno.ETIMEDOUT}
# The FT260 reports it as an I/O error. Outside of a probe, that is a fault of the bus.
USB_PROBE_ERRNOS: Final = {*USB_ERRNOS, errno.EIO}


class PowerLostError(Exception):
    """The chip lost its settings, or its adapter was unplugged and plugged in again."""


class Registers:
    """The registers of one chip; every call blocks for one transaction.

    A node stays open, except that of an adapter that can be unplugged: the kernel would
    then wait until the node is closed, and handle no other plug or unplug meanwhile.
    """

    def __init__(self, adapter: I2cAdapter, address: int) -> None:
        """Open the bus.

        Raises DeviceAccessError without a node or permission, and for an address that
        a kernel driver uses; DeviceNotFoundError if the bus is gone.
        """
        if not adapter.has_node:
            raise DeviceAccessError(Fault.BUS_NO_NODE, node=str(adapter.node))
        if address in adapter.kernel_addresses:
            raise DeviceAccessError(Fault.ADDRESS_HELD, address=f"{address:#x}")
        self.adapter = adapter
        self._address = address
        self._bus: I2C | None = self._open()

    def suspend(self) -> None:
        """Close the node until the next transaction, if the adapter can be unplugged.

        That transaction raises PowerLostError if the adapter was unplugged meanwhile.
        """
        if self.adapter.device_number is not None:
            self.close()

    def close(self) -> None:
        """Close the node.

        The garbage collector cannot do that in time: a stored error keeps its frames,
        and with them this object.
        """
        bus, self._bus = self._bus, None
        if bus is not None:
            bus._i2c_bus.close()  # noqa: SLF001 - Blinka has no method for it.

    def read(self, register: int, length: int, *, is_probe: bool = False) -> bytes:
        """Read consecutive registers in one combined transaction.

        A probe finds out whether there is a chip.
        """
        buffer = bytearray(length)
        self._transfer(
            lambda bus: bus.writeto_then_readfrom(
                self._address, bytes((register,)), buffer
            ),
            is_probe=is_probe,
        )
        return bytes(buffer)

    def write(self, register: int, value: int) -> None:
        """Write one register.

        Blinka does not report a write that lost arbitration, so the caller has to read
        back important registers.
        """
        message = bytes((register, value))
        self._transfer(lambda bus: bus.writeto(self._address, message))

    def _open(self) -> I2C:
        """Open the bus; raise DriverError if that fails."""
        try:
            return import_bus()(self.adapter.number)
        except PermissionError as err:
            raise DeviceAccessError(
                Fault.NO_PERMISSION, node=str(self.adapter.node)
            ) from err
        except RuntimeError as err:  # Blinka raises it if there is no node.
            raise DeviceNotFoundError(Fault.BUS_NOT_FOUND) from err
        except OSError as err:
            if err.errno == errno.ENXIO:  # A node without an adapter.
                raise DeviceNotFoundError(Fault.BUS_NOT_FOUND) from err
            raise self._bus_error(err) from err

    def _transfer(
        self, transaction: Callable[[I2C], None], *, is_probe: bool = False
    ) -> None:
        """Run a transaction; repeat it once if it lost arbitration."""
        if self._bus is None:
            if not is_as_before(self.adapter):
                raise PowerLostError
            self._bus = self._open()
        try:
            try:
                transaction(self._bus)
            except BlockingIOError:
                transaction(self._bus)
        except OSError as err:
            # With its traceback, a stored error would keep the node open.
            error = self._bus_error(err, is_probe=is_probe)
            raise error from err.with_traceback(None)

    def _bus_error(self, err: OSError, *, is_probe: bool = False) -> DriverError:
        """Return the DriverError for an error of the bus."""
        address = f"{self._address:#x}"
        if err.errno in NO_ACKNOWLEDGE_ERRNOS or (
            self.adapter.device_number is not None
            and err.errno in (USB_PROBE_ERRNOS if is_probe else USB_ERRNOS)
        ):
            return DeviceNotFoundError(Fault.CHIP_NOT_FOUND, address=address)
        if err.errno == errno.EBUSY:
            return DeviceAccessError(Fault.ADDRESS_HELD, address=address)
        if err.errno in {errno.ENODEV, errno.ESHUTDOWN}:
            return DeviceNotFoundError(Fault.BUS_NOT_FOUND)
        return BadFrameError(Fault.BUS_ERROR, error=err.strerror or str(err))
