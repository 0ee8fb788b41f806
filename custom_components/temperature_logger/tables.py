"""The recorder's tables: the only module that names them.

Whatever uses the database blocks, and belongs into the recorder's executor or thread.
"""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Final

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.recorder import session_scope
from homeassistant.util.hass_dict import HassKey
from sqlalchemy import Connection, column, inspect, select, table
from sqlalchemy.exc import SQLAlchemyError

from .const import DOMAIN, Refusal

DATA_KNOWN: HassKey[bool] = HassKey(f"{DOMAIN}_recorder_known")

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
STATISTICS_HOURLY: Final = table("statistics", column("metadata_id"))
STATISTICS_SHORT: Final = table("statistics_short_term", column("metadata_id"))
TABLES: Final = (
    STATES,
    STATES_META,
    STATE_ATTRIBUTES,
    STATISTICS_HOURLY,
    STATISTICS_SHORT,
)


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
        raise HomeAssistantError(
            translation_domain=DOMAIN,
            translation_key=Refusal.RECORDER_FAILED,
            translation_placeholders={"error": str(err).partition("\n")[0]},
        ) from err


def check_schema(hass: HomeAssistant) -> None:
    """Raise HomeAssistantError if a table or column is missing that is needed here.

    The tables do not change while Home Assistant runs, so they are looked at once.
    """
    if hass.data.get(DATA_KNOWN):
        return
    with connected(hass) as opened:
        inspector = inspect(opened)
        there = {
            f"{known.name}.{found['name']}"
            for known in TABLES
            if inspector.has_table(known.name)
            for found in inspector.get_columns(known.name)
        }
    needed = [str(column) for known in TABLES for column in known.columns]
    missing = [name for name in needed if name not in there]
    if missing:
        raise HomeAssistantError(
            translation_domain=DOMAIN,
            translation_key=Refusal.RECORDER_CHANGED,
            translation_placeholders={"missing": ", ".join(missing)},
        )
    hass.data[DATA_KNOWN] = True


def metadata_ids(connection: Connection, entity_ids: Iterable[str]) -> dict[str, int]:
    """Return the recorder's numbers of the entities that it knows."""
    meta = STATES_META.columns
    statement = select(meta.entity_id, meta.metadata_id).where(
        meta.entity_id.in_(sorted(entity_ids))
    )
    return {row.entity_id: row.metadata_id for row in connection.execute(statement)}
