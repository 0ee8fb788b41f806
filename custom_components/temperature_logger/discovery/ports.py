"""The record of when each port had a device, across restarts.

Sticks have no serial number. A stick can be the one that an entry lost only if it
appeared after the loss. The record counts events, as a clock may be wrong.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, Final, NamedTuple

from homeassistant.core import CoreState, HomeAssistant, callback
from homeassistant.helpers.storage import Store

from ..const import DOMAIN

PORTS_STORE_KEY: Final = f"{DOMAIN}.ports"
PORTS_STORE_VERSION: Final = 1
PORTS_SAVE_DELAY_S: Final = 1
# The first event finds what was plugged in before the record began.
FIRST_EVENT: Final = 1
# For a loss before the record began: everything that came later may be the lost device.
EARLIER_LOSS: Final = FIRST_EVENT + 1
# The errors of a stored record that another program has changed.
DAMAGED_ERRORS: Final = (AttributeError, KeyError, TypeError, ValueError)
# A hub that is reset loses its devices one after the other. Devices that left within
# this time left together, unless one has appeared at another port meanwhile.
LEFT_TOGETHER_S: Final = 5.0


class Stay(NamedTuple):
    """The time of a device at a port: the numbers of two events."""

    appeared: int
    left: int | None = None
    """None while the device is there."""


class Ports:
    """The stays of devices at each port, by hot-plug key."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Begin with an empty record."""
        self._event = 0
        self._hass = hass
        self._is_new = True
        """Whether the record began in this run, and Home Assistant is still starting.

        All that is there until then is recorded with the first event.
        """
        self._left_at: dict[str, float] = {}
        """The ports that lost their devices together, or may have, and the times."""
        self._numbers: Mapping[str, int] = {}
        """The number of each device, which changes when it is plugged in again."""
        self._stays: dict[str, list[Stay]] = {}
        """The last stay at each port, and earlier ones that contain a loss."""
        self._store: Store[dict[str, Any]] = Store(
            hass, PORTS_STORE_VERSION, PORTS_STORE_KEY
        )

    async def async_load(self) -> None:
        """Load the record of the last run of Home Assistant."""
        stored: Any = await self._store.async_load()
        with suppress(*DAMAGED_ERRORS):
            event, stays = stored["event"] + 0, stored["stays"].items()
            self._stays = {
                key: [Stay(*stay) for stay in (*earlier, last)]
                for key, (*earlier, last) in stays
            }
            self._event = event
        self._is_new = not self._event

    @callback
    def async_update(self, numbers: Mapping[str, int]) -> None:
        """Record which devices have appeared or left since the last call.

        The numbers are those of the connected devices, by hot-plug key.
        """
        before = {key for key, stays in self._stays.items() if stays[-1].left is None}
        replaced = {
            key
            for key in before & self._numbers.keys() & numbers.keys()
            if self._numbers[key] != numbers[key]
        }
        self._numbers = numbers
        left = before - numbers.keys() | replaced
        appeared = numbers.keys() - before | replaced
        if left or appeared:
            if not self._is_new or self._hass.state is CoreState.running:
                self._is_new = False
                self._event += 1
            self._event = max(self._event, FIRST_EVENT)
            self._end_stays(self._left_together(left, appeared))
            for key in appeared:
                self._stays.setdefault(key, []).append(Stay(self._event))
            self._store.async_delay_save(self._record, PORTS_SAVE_DELAY_S)

    @callback
    def async_may_have_moved(
        self, lost_port: str, port: str, owned_ports: Collection[str] = ()
    ) -> bool:
        """Return whether a port seems to have the device that another port lost.

        It is not if it appeared before the loss, or if its port had a device at that
        time: that device has returned, as after the reset of a hub. It is uncertain if
        a third port has lost a device since then, unless that port is owned: the entry
        of an owned port misses its own device.
        """
        lost = self._lost_at(lost_port)
        return self._has_come_after(lost, port) and not any(
            self._has_come_after(stays[-1].left, port)
            for key, stays in self._stays.items()
            if key not in {lost_port, *owned_ports}
            and stays[-1].left is not None
            and any(_contains(stay, lost) for stay in stays)
        )

    def _has_come_after(self, lost: int, port: str) -> bool:
        """Return whether the device at a port may be the one that was lost."""
        *earlier, last = self._stays.get(port, [Stay(0, 0)])
        return (
            last.left is None
            and last.appeared >= lost
            and not any(_contains(stay, lost) for stay in earlier)
        )

    def _lost_at(self, port: str) -> int:
        """Return the event at which a port lost its device.

        A port without a record lost its device before the record began.
        """
        stays = self._stays.get(port)
        return EARLIER_LOSS if stays is None else stays[-1].left or self._event + 1

    def _left_together(self, left: set[str], appeared: set[str]) -> set[str]:
        """Return the ports that lose their devices now, or lost them just before."""
        now = monotonic()
        together = left | {
            key
            for key, left_at in self._left_at.items()
            if key not in appeared and now - left_at < LEFT_TOGETHER_S
        }
        if appeared - self._left_at.keys() - left:  # One of the devices has moved.
            self._left_at = {}
        else:
            self._left_at = {
                key: now if key in left else self._left_at[key]
                for key in together - appeared
            }
        return together if left else left

    def _end_stays(self, left: Collection[str]) -> None:
        """End the stays at these ports; forget earlier stays without a loss."""
        for key in left:
            self._stays[key][-1] = self._stays[key][-1]._replace(left=self._event)
        losses = [stays[-1].left for stays in self._stays.values()] + [EARLIER_LOSS]
        for key, (*earlier, last) in self._stays.items():
            self._stays[key] = [
                stay
                for stay in earlier
                if any(loss and _contains(stay, loss) for loss in losses)
            ] + [last]

    def _record(self) -> dict[str, Any]:
        """Return the record for the store."""
        return {"event": self._event, "stays": self._stays}


def _contains(stay: Stay, event: int) -> bool:
    """Return whether an event happened during an ended stay, or ended it."""
    return stay.appeared < event <= (stay.left or 0)
