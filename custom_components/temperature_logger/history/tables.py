"""The recorder's tables: the only module that names them.

Whatever uses the database blocks, and belongs into the recorder's executor or thread.
"""

from collections.abc import Collection, Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final

from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import session_scope
from homeassistant.util.hass_dict import HassKey
from sqlalchemy import ColumnClause, Connection, column, inspect, select, table
from sqlalchemy.exc import SQLAlchemyError

from ..const import DOMAIN, Refusal
from ..translation import refused

DATA_KNOWN: HassKey[set[str]] = HassKey(f"{DOMAIN}_recorder_known")
"""The columns that were seen to be there."""

EVENTS: Final = table("events", column("time_fired_ts"))
STATES: Final = table(
    "states",
    column("attributes_id"),
    column("last_updated_ts"),
    column("metadata_id"),
    column("old_state_id"),
    column("state"),
    column("state_id"),
)
STATES_META: Final = table("states_meta", column("entity_id"), column("metadata_id"))
STATE_ATTRIBUTES: Final = table(
    "state_attributes", column("attributes_id"), column("shared_attrs")
)
STATISTICS_HOURLY: Final = table(
    "statistics", column("metadata_id"), column("start_ts")
)
STATISTICS_SHORT: Final = table(
    "statistics_short_term", column("metadata_id"), column("start_ts")
)
WRITTEN: Final = {
    "events": EVENTS.columns.time_fired_ts,
    "states": STATES.columns.last_updated_ts,
    "statistics": STATISTICS_HOURLY.columns.start_ts,
    "statistics_short_term": STATISTICS_SHORT.columns.start_ts,
}
"""When each row of what grows was written; all of them are indexed."""
READ: Final = (
    STATES.columns.attributes_id,
    STATES.columns.last_updated_ts,
    STATES.columns.metadata_id,
    STATES.columns.state,
    *STATES_META.columns,
    *STATE_ATTRIBUTES.columns,
    STATISTICS_HOURLY.columns.metadata_id,
    STATISTICS_SHORT.columns.metadata_id,
)
"""What it takes to answer."""
ROW: Final = (
    STATES.columns.state_id,
    STATES.columns.metadata_id,
    STATES.columns.last_updated_ts,
    STATES.columns.state,
    STATES.columns.attributes_id,
)
"""What of a row of the history is looked at."""
THINNED: Final = (
    *READ,
    *WRITTEN.values(),
    STATES.columns.old_state_id,
    STATES.columns.state_id,
)
"""What it takes to thin."""


@contextmanager
def connected(hass: HomeAssistant) -> Generator[Connection]:
    """Give a connection to the database."""
    with translated(), session_scope(hass=hass, read_only=True) as session:
        yield session.connection()


@contextmanager
def translated() -> Generator[None]:
    """Raise HomeAssistantError where the database fails."""
    try:
        yield
    except (RuntimeError, SQLAlchemyError) as err:
        error = str(err).partition("\n")[0]
        raise refused(Refusal.RECORDER_FAILED, error=error) from err


def check_schema(hass: HomeAssistant, needed: Collection[ColumnClause[Any]]) -> None:
    """Raise HomeAssistantError if a table or column is missing that is needed.

    The tables do not change while Home Assistant runs, so they are looked at once.
    """
    known = hass.data.setdefault(DATA_KNOWN, set())
    names = [str(column) for column in needed]
    if known.issuperset(names):
        return
    with connected(hass) as opened:
        inspector = inspect(opened)
        there = {
            f"{table}.{found['name']}"
            for table in {name.partition(".")[0] for name in names}
            if inspector.has_table(table)
            for found in inspector.get_columns(table)
        }
    missing = [name for name in names if name not in there]
    if missing:
        raise refused(Refusal.RECORDER_CHANGED, missing=", ".join(missing))
    known.update(names)


def metadata_ids(connection: Connection, entity_ids: Iterable[str]) -> dict[str, int]:
    """Return the recorder's numbers of the entities that it knows."""
    meta = STATES_META.columns
    statement = select(meta.entity_id, meta.metadata_id).where(
        meta.entity_id.in_(sorted(entity_ids))
    )
    return {row.entity_id: row.metadata_id for row in connection.execute(statement)}
