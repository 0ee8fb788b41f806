"""The progress of each endpoint, which survives restarts."""

from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.storage import Store

from ..const import DOMAIN
from ..history import holds
from ..shared import shared_object

CURSOR_STORE_VERSION: Final = 1
# Refused readings that are kept with their values and reasons.
MAX_REFUSALS: Final = 100


@dataclass(kw_only=True)
class Progress:
    """The stored progress of one endpoint. Rows are those of the recorder's states."""

    state_id: int = 0
    """The id of the row up to which all readings have arrived."""
    pending: int | None = None
    """The last row of the batch in flight, if rows added later would change it."""
    newest: int = 0
    """The id of the newest row, of any entity, at the last status update."""
    newest_at: float | None = None
    """The Unix time of that row."""
    oldest: float | None = None
    """The Unix time of the first waiting value at the last status update."""
    oldest_after: int = 0
    """The state_id of that status update."""
    known_until: float = 0.0
    """The Unix time of the last status update, which does not cover newer rows."""
    delivered: int = 0
    """The number of readings that have arrived."""
    delivered_at: float | None = None
    """The Unix time of the last delivery."""
    refused: int = 0
    """The number of refused readings about which the user has not decided."""
    refused_after: int | None = None
    """The state_id before the first of them."""
    refused_since: float | None = None
    """The Unix time of the first of them."""
    refused_until: float | None = None
    """The Unix time of the last of them."""
    is_again: bool = False
    """Whether the user wants them to be sent again."""
    refusals: list[dict[str, Any]] = field(default_factory=list)
    """The last refused readings, also those about which the user has decided."""

    @property
    def unsent_since(self) -> float:
        """The Unix time from which thinning must spare readings."""
        since = self.known_until if self.oldest is None else self.oldest
        return since if self.refused_since is None else min(since, self.refused_since)

    def forget_refused(self) -> None:
        """Leave the refused readings unsent."""
        self.refused, self.is_again = 0, False
        self.refused_after = self.refused_since = self.refused_until = None


class Cursor:
    """The progress of one endpoint, with its storage."""

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Start at the first row."""
        self.is_new = True
        """Whether there is no stored progress."""
        self.progress = Progress()
        self._store = Store[dict[str, Any]](
            hass, CURSOR_STORE_VERSION, f"{DOMAIN}.endpoint_{entry_id}"
        )

    async def async_load(self) -> None:
        """Continue with the stored progress, if there is any."""
        if (stored := await self._store.async_load()) is not None:
            names = {field.name for field in fields(Progress)} & stored.keys()
            self.progress = Progress(**{name: stored[name] for name in names})
            self.is_new = False

    async def async_save(self) -> None:
        """Store the progress at once."""
        await self._store.async_save(asdict(self.progress))
        self.is_new = False

    async def async_restart(self, state_id: int) -> None:
        """Move the cursor to a row id, regardless of the progress so far."""
        self.progress.state_id, self.progress.pending = state_id, None
        self.progress.forget_refused()
        await self.async_save()

    async def async_note_waiting(
        self, oldest: float | None, newest: int, newest_at: float | None, until: float
    ) -> None:
        """Note the first waiting value and the newest row, as known at a Unix time.

        The note is saved if it protects older readings than before from thinning.
        """
        progress = self.progress
        unsent_since = progress.unsent_since
        progress.oldest, progress.oldest_after = oldest, progress.state_id
        progress.newest, progress.newest_at = newest, newest_at
        progress.known_until = until
        if progress.unsent_since < unsent_since:
            await self.async_save()

    async def async_answer(self, *, is_again: bool) -> None:
        """Note whether refused readings are to be sent again or left out."""
        self.progress.is_again = is_again
        if not is_again:
            self.progress.forget_refused()
        if not self.is_new:  # After saving, the first row would not be searched.
            await self.async_save()

    async def async_rewind(self) -> None:
        """Go back to the row before the first refused reading."""
        progress = self.progress
        if progress.refused_after is not None:
            progress.state_id = min(progress.state_id, progress.refused_after)
            progress.pending = None
            # Thinning still spares them, and the next status update does not report
            # them as lost.
            progress.oldest, progress.oldest_after = progress.unsent_since, -1
        await self.async_answer(is_again=False)

    async def async_remove(self) -> None:
        """Delete the stored progress."""
        await self._store.async_remove()


def cursors(hass: HomeAssistant) -> dict[str, Cursor]:
    """Return the cursors in use, by the ids of their entries."""
    return shared_object(hass, _no_cursors)


def _no_cursors(_: HomeAssistant) -> dict[str, Cursor]:
    """Begin without a cursor."""
    return {}


async def async_cursor(hass: HomeAssistant, entry_id: str) -> Cursor:
    """Return the cursor of an endpoint.

    From then on, thinning spares its unsent readings, even while its entry is disabled.
    """
    all_cursors = cursors(hass)
    if (cursor := all_cursors.get(entry_id)) is None:
        cursor = all_cursors[entry_id] = Cursor(hass, entry_id)
        holds(hass)[entry_id] = partial(_unsent_since, cursor)
        await cursor.async_load()
    return cursor


async def async_remove_cursor(hass: HomeAssistant, entry_id: str) -> None:
    """Delete the progress of an endpoint that was deleted, and its hold."""
    cursor = await async_cursor(hass, entry_id)
    holds(hass).pop(entry_id)
    cursors(hass).pop(entry_id)
    await cursor.async_remove()


@callback
def _unsent_since(cursor: Cursor) -> float:
    """Return the Unix time from which thinning spares readings, in any thread."""
    return cursor.progress.unsent_since
