"""One chip on one I2C bus of the machine, through Blinka's generic Linux bus.

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

# What "nobody answers at this address" is depends on the adapter's driver.
NOT_ACKNOWLEDGED: Final = {errno.EREMOTEIO, errno.ENXIO}


class PowerLostError(Exception):
    """The chip forgot how it was configured, or its adapter was plugged in anew."""


class Registers:
    """The registers of one chip; every call blocks for one transaction.

    A node is held open, but not that of an adapter that can be pulled out: the kernel
    would wait until it is closed, and let nothing be plugged in or out meanwhile.
    """

    def __init__(self, adapter: I2cAdapter, address: int) -> None:
        """Open the bus.

        Raises DeviceAccessError where it may not be used or the address is a kernel
        driver's.
        """
        if not adapter.has_node:
            raise DeviceAccessError(Fault.BUS_NO_NODE, node=str(adapter.node))
        if address in adapter.held:
            raise DeviceAccessError(Fault.ADDRESS_HELD, address=f"{address:#x}")
        self.adapter = adapter
        self._address = address
        self._bus: I2C | None = self._opened()

    def rest(self) -> None:
        """Close the node until the next transaction, if the adapter can be pulled out.

        That transaction raises PowerLostError if the adapter was pulled out meanwhile.
        """
        if self.adapter.plug is not None:
            self.close()

    def close(self) -> None:
        """Close the node; not to be left to the end of the last reference to it.

        An error keeps the frames that it came through, and with them all of this.
        """
        bus, self._bus = self._bus, None
        if bus is not None:
            bus._i2c_bus.close()  # noqa: SLF001 - Blinka has no way to do that.

    def read(self, register: int, length: int) -> bytes:
        """Read consecutive registers in one combined transaction."""
        buffer = bytearray(length)
        self._try(
            lambda bus: bus.writeto_then_readfrom(
                self._address, bytes((register,)), buffer
            )
        )
        return bytes(buffer)

    def write(self, register: int, value: int) -> None:
        """Write one register.

        A write that lost arbitration is not reported by the bus class: what depends
        on it has to be read back.
        """
        message = bytes((register, value))
        self._try(lambda bus: bus.writeto(self._address, message))

    def _opened(self) -> I2C:
        """Open the bus."""
        try:
            return import_bus()(self.adapter.number)
        except PermissionError as err:
            raise DeviceAccessError(
                Fault.NO_PERMISSION, node=str(self.adapter.node)
            ) from err
        except RuntimeError as err:  # Blinka's word for a node that is not there.
            raise DeviceNotFoundError(Fault.BUS_NOT_FOUND) from err
        except OSError as err:
            if err.errno == errno.ENXIO:  # The node is a leftover.
                raise DeviceNotFoundError(Fault.BUS_NOT_FOUND) from err
            raise self._translated(err) from err

    def _try(self, transaction: Callable[[I2C], None]) -> None:
        """Run a transaction, once more if the arbitration was lost."""
        if self._bus is None:
            if not is_as_before(self.adapter):
                raise PowerLostError
            self._bus = self._opened()
        try:
            try:
                transaction(self._bus)
            except BlockingIOError:
                transaction(self._bus)
        except OSError as err:
            # With its traceback it would keep the node open for as long as it is kept.
            raise self._translated(err) from err.with_traceback(None)

    def _translated(self, err: OSError) -> DriverError:
        """Return what an error of the bus means for the owner."""
        address = f"{self._address:#x}"
        if err.errno in NOT_ACKNOWLEDGED or (
            # Many a USB adapter calls that a time-out, which it need not wait for.
            err.errno == errno.ETIMEDOUT and self.adapter.plug is not None
        ):
            return DeviceNotFoundError(Fault.CHIP_NOT_FOUND, address=address)
        if err.errno == errno.EBUSY:
            return DeviceAccessError(Fault.ADDRESS_HELD, address=address)
        if err.errno in {errno.ENODEV, errno.ESHUTDOWN}:
            return DeviceNotFoundError(Fault.BUS_NOT_FOUND)
        return BadFrameError(Fault.BUS_ERROR, error=err.strerror or str(err))
