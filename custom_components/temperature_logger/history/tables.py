"""The tables and columns of the recorder that the integration uses."""

from typing import Any, Final, Literal

from sqlalchemy import ColumnClause, column, table

type Purpose = Literal["read", "send", "thin"]
"""What columns are needed for."""

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

TIMES: Final = {
    "events": EVENTS.columns.time_fired_ts,
    "states": STATES.columns.last_updated_ts,
    "statistics": STATISTICS_HOURLY.columns.start_ts,
    "statistics_short_term": STATISTICS_SHORT.columns.start_ts,
}
"""The column with the time of each table that grows; it has an index."""

STATE_ROW: Final = (
    STATES.columns.state_id,
    STATES.columns.metadata_id,
    STATES.columns.last_updated_ts,
    STATES.columns.state,
    STATES.columns.attributes_id,
)

_READ: Final = (
    STATES.columns.attributes_id,
    STATES.columns.last_updated_ts,
    STATES.columns.metadata_id,
    STATES.columns.state,
    *STATES_META.columns,
    *STATE_ATTRIBUTES.columns,
    STATISTICS_HOURLY.columns.metadata_id,
    STATISTICS_SHORT.columns.metadata_id,
)
NEEDED: Final[dict[Purpose, tuple[ColumnClause[Any], ...]]] = {
    "read": _READ,
    "send": (*_READ, STATES.columns.state_id),
    "thin": (
        *_READ,
        *TIMES.values(),
        STATES.columns.old_state_id,
        STATES.columns.state_id,
    ),
}
"""The columns that each purpose needs."""
