"""USB devices that are opened once: what all of them do alike."""

from abc import ABC, abstractmethod
import asyncio
from collections.abc import Callable

from ..readings import Reading
from ..sysfs import usb_place
from ..workers import Lane


class Held[Opened](ABC):
    """One device at one place; opened by its first reading and held from then on."""

    def __init__(
        self,
        lane: Lane,
        controller: str,
        ports: str,
        on_gone: Callable[[], None],
    ) -> None:
        """Name the place.

        on_gone is called when the device is unplugged between two readings.
        """
        self._closing: asyncio.Future[None] | None = None
        self._controller = controller
        self._lane = lane
        self._on_gone = on_gone
        self._opened: Opened | None = None
        self._ports = ports

    @property
    def place(self) -> str:
        """The place for people."""
        return usb_place(self._controller, self._ports)

    async def read(self) -> Reading:
        """Return one reading; raise DriverError if there is none."""
        try:
            reading = await self._read(self._opened or await self._open())
        except BaseException:
            self._lane.failing = True
            self._fail()
            raise
        self._lane.failing = False
        return reading

    async def close(self) -> None:
        """Close the device, and give the kernel back what was taken from it."""
        self._close()
        await self._closed()

    @abstractmethod
    async def _open(self) -> Opened:
        """Open the device, once it is closed, and settle what it is."""

    @abstractmethod
    async def _read(self, opened: Opened) -> Reading:
        """Return one reading of the opened device."""

    @abstractmethod
    def _release(self, opened: Opened) -> asyncio.Future[None]:
        """Begin to close; the result tells when that is done."""

    def _fail(self) -> None:
        """Let go of a device that gave no reading, to open it again for the next one.

        So a late answer cannot pass for that one's.
        """
        self._close()

    def _close(self) -> None:
        """Begin to close what is open; a job that hangs has to end first."""
        opened, self._opened = self._opened, None
        if opened is not None:
            self._closing = self._release(opened)

    async def _closed(self) -> None:
        """Wait until what was opened before is closed."""
        if self._closing is not None:
            await asyncio.shield(self._closing)
            self._closing = None
