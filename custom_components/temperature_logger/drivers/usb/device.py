"""USB devices that are opened once and held."""

from abc import ABC, abstractmethod
import asyncio
from collections.abc import Callable

from ..places import UsbPlace
from ..readings import Facts, Reading
from ..workers import Lane


class HeldDevice[Opened](ABC):
    """One device at one place; opened by its first reading and held from then on."""

    def __init__(
        self,
        lane: Lane,
        place: UsbPlace,
        facts: Facts,  # noqa: ARG002 - Drivers that need facts take them themselves.
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to read the device at a place; nothing is opened yet.

        The facts are those that an earlier driver of the device gave. on_gone is called
        when the device is unplugged between two readings.
        """
        self._raw: dict[str, str] = {}
        self._closing: asyncio.Future[None] | None = None
        self._lane = lane
        self._on_gone = on_gone
        self._opened: Opened | None = None
        self._place = place

    @property
    def raw(self) -> dict[str, str]:
        """What the last reading was made from, in hexadecimal."""
        return self._raw

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
