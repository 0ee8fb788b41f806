"""The decisions of the disk guard. Nothing here waits or blocks."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ..const import DAY_SECONDS
from ..history.readings import iso
from .space import DAYS_OF_GROWTH, DatabaseSpace


class Outcome(StrEnum):
    """The reason why the disk is still full; each value is the key of a text."""

    DISK_FULL = "disk_full"
    """The guard only warns, or has not measured the database yet."""
    ELSEWHERE = "disk_full_elsewhere"
    """The database is not on this disk."""
    FAILED = "disk_full_failed"
    INTERRUPTED = "disk_full_interrupted"
    """Home Assistant stopped, or the options changed, during a pass."""
    NOT_REPACKED = "disk_full_not_repacked"
    """Readings were thinned; the disk lacks the space to repack the database."""
    REUSABLE = "disk_full_reusable"
    """Readings were thinned; the database keeps the space for new rows."""
    ROOMY = "disk_full_roomy"
    """The database has free space for DAYS_OF_GROWTH."""
    THINNED = "disk_full_thinned"
    TOO_FEW = "disk_full_too_few"
    """There are too few readings to thin."""
    UNKNOWN = "disk_full_unknown"
    """The database does not answer."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One run of thinning; it is stored before it begins and when it has ended."""

    began: float
    """Unix time."""
    ended: bool = False
    """Whether it ended without an interruption."""
    rows: int = 0
    """The number of rows that it deleted."""
    minutes: int = 0
    """The length of the slots in its last step."""
    first: float | None = None
    """Unix time of the oldest of the rows."""
    last: float | None = None
    """Unix time of the newest of the rows."""
    bytes: int = 0
    """Bytes that it freed inside the database."""
    repacked: bool = False
    disk_bytes: int = 0
    """Bytes by which repacking shrank the database."""
    error: str = ""

    @property
    def outcome(self) -> Outcome:
        """The result of the pass, as the repair issue shows it."""
        if self.error:
            return Outcome.FAILED
        if not self.ended:
            return Outcome.INTERRUPTED
        if not self.repacked:
            return Outcome.NOT_REPACKED
        return Outcome.THINNED if self.disk_bytes else Outcome.REUSABLE

    @property
    def summary(self) -> dict[str, Any]:
        """All fields, with times in ISO 8601."""
        times = {"began": self.began, "first": self.first, "last": self.last}
        return asdict(self) | {
            name: None if at is None else iso(at) for name, at in times.items()
        }


def decide(
    space: DatabaseSpace | None, last: Pass | None, now: float, *, has_cleared: bool
) -> Outcome | DatabaseSpace:
    """Return the reason not to thin now, or the space of the database to thin.

    `has_cleared`: whether the disk was below the limit since the last pass.
    """
    if space is None:
        return Outcome.ELSEWHERE
    if space.is_enough:
        return Outcome.ROOMY
    if last is not None:
        days = max(0.0, now - last.began) / DAY_SECONDS
        # The rest of the freed space cannot be measured: it went to the disk, or
        # PostgreSQL no longer counts it as free.
        left = max(last.bytes, last.disk_bytes) - days * space.growth
        # If the disk stayed full after the last pass, something else fills it.
        if days < (1 if has_cleared else DAYS_OF_GROWTH) or left >= space.growth:
            return last.outcome
    return space


def is_worthwhile(rows: int, space: DatabaseSpace) -> bool:
    """Return whether deleting so many rows frees space for a day."""
    return rows * space.row >= space.growth
