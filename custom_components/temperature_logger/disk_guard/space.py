"""The space of the recorder's database, measured before a decision."""

from typing import Final, NamedTuple

# The guard frees space for the new rows of this many days, not more.
DAYS_OF_GROWTH: Final = 7


class DatabaseSpace(NamedTuple):
    """The space of a database on the disk of the configuration, in bytes."""

    size: int
    free: int
    """The space that new rows can fill before the database grows."""
    growth: int
    """The size of all rows written in a day."""
    row: int
    """The size of a row of the states."""
    disk_free: int
    """The free space of the disk."""

    @property
    def can_repack(self) -> bool:
        """Whether the disk has the space to repack the database.

        That is a copy of the database. SQLite needs the used space twice for a moment.
        """
        return self.disk_free > max(self.size, 2 * (self.size - self.free))

    @property
    def is_enough(self) -> bool:
        """Whether the free space lasts for DAYS_OF_GROWTH."""
        return self.free >= DAYS_OF_GROWTH * self.growth

    @property
    def summary(self) -> dict[str, int]:
        """The fields that the preview shows."""
        return {
            "size": self.size,
            "free": self.free,
            "growth_per_day": self.growth,
            "free_on_disk": self.disk_free,
        }


class Measurement(NamedTuple):
    """What a decision is based on."""

    metadata_ids: tuple[int, ...]
    """The recorder's numbers of the entities whose readings may be thinned."""
    space: DatabaseSpace | None
    """None if the database is not on this disk, or neither SQLite nor PostgreSQL."""
