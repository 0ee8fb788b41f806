"""One chip on one I2C bus of the machine, through Blinka's generic Linux bus.

Source: Documentation/i2c/dev-interface.rst and fault-codes.rst of the kernel.
"""

from collections.abc import Callable
import errno
from typing import TYPE_CHECKING, Final

from .blinka import import_blinka
from .errors import (
    BadFrameError,
    DeviceAccessError,
    DeviceNotFoundError,
    DriverError,
    Fault,
)
from .sysfs import I2cAdapter

if TYPE_CHECKING:
    from adafruit_blinka.microcontroller.generic_linux.i2c import I2C

# What "nobody answers at this address" is depends on the adapter's driver.
NOT_ACKNOWLEDGED: Final = {errno.EREMOTEIO, errno.ENXIO}


class Registers:
    """The registers of one chip; every call blocks for one transaction."""

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
        try:
            self._bus: I2C = import_blinka().bus(adapter.number)
        except PermissionError as err:
            raise DeviceAccessError(
                Fault.NO_PERMISSION, node=str(adapter.node)
            ) from err
        except RuntimeError as err:  # Blinka's word for a node that is not there.
            raise DeviceNotFoundError(Fault.BUS_NOT_FOUND) from err
        except OSError as err:
            if err.errno == errno.ENXIO:  # The node is a leftover.
                raise DeviceNotFoundError(Fault.BUS_NOT_FOUND) from err
            raise self._translated(err) from err

    def read(self, register: int, length: int) -> bytes:
        """Read consecutive registers in one combined transaction."""
        buffer = bytearray(length)
        self._try(
            lambda: self._bus.writeto_then_readfrom(
                self._address, bytes((register,)), buffer
            )
        )
        return bytes(buffer)

    def write(self, register: int, value: int) -> None:
        """Write one register.

        A write that lost arbitration is not reported by the bus class: what depends
        on it has to be read back.
        """
        self._try(lambda: self._bus.writeto(self._address, bytes((register, value))))

    def close(self) -> None:
        """Close the bus; not to be left to the end of the last reference to it.

        An error keeps the frames that it came through, and with them all of this. As
        long as a node is open, the kernel holds up who unplugs its adapter.
        """
        # Blinka has no way to do that.
        self._bus._i2c_bus.close()  # noqa: SLF001

    def _try(self, transaction: Callable[[], None]) -> None:
        """Run a transaction, once more if the arbitration was lost."""
        try:
            try:
                transaction()
            except BlockingIOError:
                transaction()
        except OSError as err:
            raise self._translated(err) from err

    def _translated(self, err: OSError) -> DriverError:
        """Return what an error of the bus means for the owner."""
        address = f"{self._address:#x}"
        if err.errno in NOT_ACKNOWLEDGED:
            return DeviceNotFoundError(Fault.CHIP_NOT_FOUND, address=address)
        if err.errno == errno.EBUSY:
            return DeviceAccessError(Fault.ADDRESS_HELD, address=address)
        if err.errno in {errno.ENODEV, errno.ESHUTDOWN}:
            return DeviceNotFoundError(Fault.BUS_NOT_FOUND)
        return BadFrameError(Fault.BUS_ERROR, error=err.strerror or str(err))
