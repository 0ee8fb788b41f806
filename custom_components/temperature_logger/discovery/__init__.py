"""The connected devices, and the entries that they belong to."""

from typing import Final

from .hotplug import HotPlug
from .offers import STICK_MOVED, IssueData, async_offer_sticks, async_withdraw_move
from .ports import Ports
from .relocation import async_move
from .search import finder

__all__ = [
    "STICK_MOVED",
    "HotPlug",
    "IssueData",
    "Ports",
    "async_move",
    "async_offer_sticks",
    "async_withdraw_move",
    "finder",
]

LATE: Final = {
    "device_flow": ("DeviceFlow",),
    "flow": ("SearchFlow",),
    "following": ("async_follow_chips",),
}
"""The modules that others import on first use, when a form opens or there is a chip,
with the names for them."""
