"""How far a server has everything, remembered over restarts."""

from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.storage import Store
from homeassistant.util.hass_dict import HassKey

from ..const import DOMAIN
from ..history import DATA_HOLDS

DATA_CURSORS: HassKey[dict[str, Cursor]] = HassKey(f"{DOMAIN}_cursors")
STORE_VERSION: Final = 1
# Readings that a server refused, of which all is remembered.
REMEMBERED: Final = 100


@dataclass(kw_only=True)
class Progress:
    """What is remembered."""

    state_id: int = 0
    """The number of the recorder's row up to which all has arrived."""
    pending: int | None = None
    """Where the batch ends that is on its way, if that cannot be found out again."""
    newest: int = 0
    """The number of the newest row, anybody's, at the last look."""
    newest_at: float | None = None
    """The Unix time of that row."""
    oldest: float | None = None
    """The Unix time of the first value that had not arrived at the last look."""
    oldest_after: int = 0
    """Where the cursor stood then."""
    known_until: float = 0.0
    """The Unix time of the last look: what is newer was not looked at."""
    delivered: int = 0
    """Readings that have arrived."""
    delivered_at: float | None = None
    """The Unix time of the last delivery."""
    refused: int = 0
    """Readings that the server refused, and that the owner has not answered for."""
    refused_after: int | None = None
    """Where the cursor stood before the first of them."""
    refused_since: float | None = None
    """The Unix time of the first of them."""
    refused_until: float | None = None
    """The Unix time of the last of them."""
    is_again: bool = False
    """Whether the owner wants them to be sent again."""
    refusals: list[dict[str, Any]] = field(default_factory=list)
    """The last readings that the server refused, whatever became of them."""

    @property
    def unsent_since(self) -> float:
        """The Unix time from which on readings have to stay."""
        since = self.known_until if self.oldest is None else self.oldest
        return since if self.refused_since is None else min(since, self.refused_since)

    def forget_refused(self) -> None:
        """Leave what the server refused where it is."""
        self.refused, self.is_again = 0, False
        self.refused_after = self.refused_since = self.refused_until = None


class Cursor:
    """The progress of one endpoint."""

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Begin at the first row there is."""
        self.is_new = True
        """Whether nothing was ever remembered."""
        self.progress = Progress()
        self._store = Store[dict[str, Any]](
            hass, STORE_VERSION, f"{DOMAIN}.endpoint_{entry_id}"
        )

    async def async_load(self) -> None:
        """Go on where the last run of Home Assistant ended."""
        if (stored := await self._store.async_load()) is not None:
            known = {one.name for one in fields(Progress)} & stored.keys()
            self.progress = Progress(**{name: stored[name] for name in known})
            self.is_new = False

    async def async_save(self) -> None:
        """Remember the progress before anything else happens."""
        await self._store.async_save(asdict(self.progress))
        self.is_new = False

    async def async_answer(self, *, is_again: bool) -> None:
        """Remember whether to send again what was refused, or to leave it out."""
        self.progress.is_again = is_again
        if not is_again:
            self.progress.forget_refused()
        if not self.is_new:  # Or nobody would look where to begin any more.
            await self.async_save()

    async def async_go_back(self) -> None:
        """Begin once more before the first reading that was refused."""
        progress = self.progress
        if progress.refused_after is not None:
            progress.state_id = min(progress.state_id, progress.refused_after)
            progress.pending = None
            # They stay held back, and until the next look nobody misses any.
            progress.oldest, progress.oldest_after = progress.unsent_since, -1
        await self.async_answer(is_again=False)

    async def async_remove(self) -> None:
        """Leave nothing behind."""
        await self._store.async_remove()


async def async_cursor(hass: HomeAssistant, entry_id: str) -> Cursor:
    """Return the cursor of an endpoint, which holds back what has not arrived.

    It does so while the endpoint is not set up, too.
    """
    cursors = hass.data.setdefault(DATA_CURSORS, {})
    if (cursor := cursors.get(entry_id)) is None:
        cursor = cursors[entry_id] = Cursor(hass, entry_id)
        holds = hass.data.setdefault(DATA_HOLDS, {})
        holds[entry_id] = partial(_unsent_since, cursor)
        await cursor.async_load()
    return cursor


async def async_forget(hass: HomeAssistant, entry_id: str) -> None:
    """Hold nothing back any more for an endpoint that was deleted."""
    cursor = await async_cursor(hass, entry_id)
    hass.data[DATA_HOLDS].pop(entry_id)
    hass.data[DATA_CURSORS].pop(entry_id)
    await cursor.async_remove()


@callback
def _unsent_since(cursor: Cursor) -> float:
    """Return the Unix time from which on readings have to stay; in any thread."""
    return cursor.progress.unsent_since
