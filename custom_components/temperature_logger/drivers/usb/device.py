"""The base of the USB drivers: open the device once and keep it open."""

from abc import ABC, abstractmethod
import asyncio
from collections.abc import Callable

from ..places import UsbPlace
from ..readings import Facts, Reading
from ..workers import Lane


class HeldDevice[Connection](ABC):
    """One device at one place; the first reading opens it, and it stays open."""

    def __init__(
        self,
        lane: Lane,
        place: UsbPlace,
        facts: Facts,  # noqa: ARG002 - Drivers that need facts take them themselves.
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to read the device at a place; open nothing yet.

        The facts are those of an earlier driver of the device. The driver calls on_gone
        when the device is unplugged between two readings.
        """
        self._raw: dict[str, str] = {}
        self._closing: asyncio.Future[None] | None = None
        self._lane = lane
        self._on_gone = on_gone
        self._connection: Connection | None = None
        self._place = place

    @property
    def raw(self) -> dict[str, str]:
        """The data of the last reading as received, in hexadecimal."""
        return self._raw

    async def read(self) -> Reading:
        """Return one reading; raise DriverError if there is none."""
        try:
            reading = await self._read(self._connection or await self._open())
        except BaseException:
            self._lane.failing = True
            self._fail()
            raise
        self._lane.failing = False
        return reading

    async def read_again(self) -> Reading:
        """Return a reading of values that are measured now, like every reading."""
        return await self.read()

    async def close(self) -> None:
        """Close the device and return it to the kernel."""
        self._close()
        await self._wait_closed()

    @abstractmethod
    async def _open(self) -> Connection:
        """Wait until the device is closed, open it, and identify it."""

    @abstractmethod
    async def _read(self, connection: Connection) -> Reading:
        """Return one reading of the open device."""

    @abstractmethod
    def _release(self, connection: Connection) -> asyncio.Future[None]:
        """Begin to close the device; the future completes once that is done."""

    def _fail(self) -> None:
        """Close the device after a failure; the next reading opens it again.

        Otherwise a late answer could be taken for that of the next reading.
        """
        self._close()

    def _close(self) -> None:
        """Begin to close the device, if it is open; jobs that still run end first."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._closing = self._release(connection)

    async def _wait_closed(self) -> None:
        """Wait until the earlier connection is closed."""
        if self._closing is not None:
            await asyncio.shield(self._closing)
            self._closing = None
