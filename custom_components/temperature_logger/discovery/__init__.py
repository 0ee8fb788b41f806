"""The devices that are plugged in, and the entries that they belong to."""

from .hotplug import HotPlug
from .offers import async_offer_sticks
from .relocation import STICK_MOVED, IssueData, async_move, async_withdraw_move
from .search import finder

__all__ = [
    "STICK_MOVED",
    "HotPlug",
    "IssueData",
    "async_move",
    "async_offer_sticks",
    "async_withdraw_move",
    "finder",
]
