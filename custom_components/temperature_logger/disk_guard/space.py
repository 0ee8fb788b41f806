"""What is measured before a decision: the space of the recorder's database."""

from typing import Final, NamedTuple

# Days for which the database need not grow: more free space than that is not needed.
DAYS_OF_GROWTH: Final = 7


class DatabaseSpace(NamedTuple):
    """The space of a database on the disk of the configuration, in bytes."""

    size: int
    free: int
    """The space for new rows, before the database grows."""
    growth: int
    """The rows of a day, of all entities."""
    row: int
    """The size of a row of the states."""
    disk_free: int
    """The free space of the disk."""

    @property
    def can_repack(self) -> bool:
        """Whether the disk can hold a copy of the database while it is repacked.

        SQLite needs the used space twice for a moment.
        """
        return self.disk_free > max(self.size, 2 * (self.size - self.free))

    @property
    def is_enough(self) -> bool:
        """Whether the database need not grow for some days."""
        return self.free >= DAYS_OF_GROWTH * self.growth

    @property
    def summary(self) -> dict[str, int]:
        """The part that the preview shows."""
        return {
            "size": self.size,
            "free": self.free,
            "growth_per_day": self.growth,
            "free_on_disk": self.disk_free,
        }


class Measurement(NamedTuple):
    """The basis of a decision."""

    metadata_ids: tuple[int, ...]
    """The recorder's numbers of the entities whose readings may be thinned."""
    space: DatabaseSpace | None
    """None if the database is not on this disk, or is of another kind."""
