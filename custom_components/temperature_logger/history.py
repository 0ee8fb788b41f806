"""Readings as the recorder keeps them: the only module that knows its tables.

Everything here blocks and belongs into the recorder's executor. A row holds a value in
the unit that was shown when it was written; only the row's own attributes tell which
one that was. Rows whose unit is not known are left out, as are those without a value.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from homeassistant.components.recorder.statistics import (
    get_metadata,
    statistics_during_period,
)
from homeassistant.const import ATTR_UNIT_OF_MEASUREMENT
from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import session_scope
from homeassistant.util import dt as dt_util
from homeassistant.util.hass_dict import HassKey
from homeassistant.util.json import json_loads_object
from sqlalchemy import Connection, Select, column, func, inspect, select, table

from .columns import Columns, Series, merged
from .const import DOMAIN
from .request import Span
from .units import CONVERTERS, base, conversion, number

DATA_KNOWN: HassKey[bool] = HassKey(f"{DOMAIN}_recorder_known")
# Rows at a time: as many objects at once as not to wake the garbage collector, which
# stops everything while it looks at all that Home Assistant has.
CHUNK: Final = 500
STATISTICS: Final = ("min", "mean", "max")

_STATES: Final = table(
    "states",
    column("attributes_id"),
    column("last_updated_ts"),
    column("metadata_id"),
    column("state"),
)
_STATES_META: Final = table("states_meta", column("entity_id"), column("metadata_id"))
_STATE_ATTRIBUTES: Final = table(
    "state_attributes", column("attributes_id"), column("shared_attrs")
)
_TABLES: Final = (_STATES, _STATES_META, _STATE_ATTRIBUTES)


class SchemaError(Exception):
    """The recorder's tables are not as this module knows them."""


def check_schema(hass: HomeAssistant) -> None:
    """Raise SchemaError if a column is missing that is needed here.

    The tables do not change while Home Assistant runs, so they are looked at once.
    """
    if hass.data.get(DATA_KNOWN):
        return
    with session_scope(hass=hass, read_only=True) as session:
        inspector = inspect(session.connection())
        for known in _TABLES:
            found = {column["name"] for column in inspector.get_columns(known.name)}
            if missing := {column.name for column in known.columns} - found:
                raise SchemaError(f"{known.name}: {', '.join(sorted(missing))}")
    hass.data[DATA_KNOWN] = True


def raw(
    hass: HomeAssistant,
    entities: Mapping[str, str],
    units: Mapping[str, str],
    span: Span,
) -> Columns:
    """Return each reading of a device, given its entities and units by quantity."""
    with session_scope(hass=hass, read_only=True) as session:
        connection = session.connection()
        ids = _metadata_ids(connection, entities.values())
        series = {
            quantity: _series(connection, ids[entity], quantity, units[quantity], span)
            for quantity, entity in entities.items()
            if entity in ids
        }
    return merged(series, span)


def statistics(
    hass: HomeAssistant,
    entities: Mapping[str, str],
    units: Mapping[str, str],
    span: Span,
    period: Literal["5minute", "hour", "day"],
) -> Columns:
    """Return minimum, mean and maximum of each period, as <quantity>_<type>."""
    found = statistics_during_period(
        hass,
        dt_util.utc_from_timestamp(span.start),
        dt_util.utc_from_timestamp(span.end),
        set(entities.values()),
        period,
        {
            str(CONVERTERS[base(quantity)].UNIT_CLASS): unit
            for quantity, unit in units.items()
        },
        set(STATISTICS),
    )
    rows: dict[int, dict[str, float | None]] = {}
    for quantity, entity in entities.items():
        for one in found.get(entity, []):
            row: Mapping[str, Any] = one
            values = rows.setdefault(int(row["start"]), {})
            values |= {f"{quantity}_{kind}": row.get(kind) for kind in STATISTICS}
    times = sorted(rows, reverse=span.newest_first)
    kept = times[: span.limit]
    names = [f"{quantity}_{kind}" for quantity in entities for kind in STATISTICS]
    return Columns(
        collected_at=kept,
        values={name: [rows[time].get(name) for time in kept] for name in names},
        truncated=len(times) > len(kept),
    )


def have_statistics(hass: HomeAssistant, entities: set[str]) -> bool:
    """Return whether statistics are kept of any of these entities."""
    return bool(get_metadata(hass, statistic_ids=entities))


def count(
    hass: HomeAssistant, entity_ids: Iterable[str]
) -> tuple[int, datetime | None]:
    """Return how many rows there are of these entities, and the time of the oldest."""
    states = _STATES.columns
    with session_scope(hass=hass, read_only=True) as session:
        connection = session.connection()
        ids = _metadata_ids(connection, entity_ids)
        statement = select(func.count(), func.min(states.last_updated_ts)).where(
            states.metadata_id.in_(ids.values())
        )
        rows, oldest = connection.execute(statement).one()
    return rows, None if oldest is None else dt_util.utc_from_timestamp(oldest)


def _metadata_ids(connection: Connection, entity_ids: Iterable[str]) -> dict[str, int]:
    """Return the recorder's numbers of the entities that it knows."""
    meta = _STATES_META.columns
    statement = select(meta.entity_id, meta.metadata_id).where(
        meta.entity_id.in_(sorted(entity_ids))
    )
    return {row.entity_id: row.metadata_id for row in connection.execute(statement)}


def _select(metadata_id: int, span: Span) -> Select[Any]:
    """Return the statement for the rows of one entity."""
    states = _STATES.columns
    order = states.last_updated_ts
    return (
        select(states.last_updated_ts, states.state, states.attributes_id)
        .where(
            states.metadata_id == metadata_id,
            states.last_updated_ts >= span.start,
            states.last_updated_ts < span.end,
        )
        .order_by(order.desc() if span.newest_first else order)
    )


def _series(
    connection: Connection, metadata_id: int, quantity: str, unit: str, span: Span
) -> Series:
    """Return the values of one entity; one more than the limit where there are."""
    # Of a few among many the server is to send no more than those; for many, rows
    # straight from the driver are faster.
    few = span.limit < CHUNK
    statement = _select(metadata_id, span).execution_options(stream_results=few)
    result = connection.execute(statement)
    cursor = result if few else result.cursor
    if TYPE_CHECKING:
        assert cursor is not None
    convert = _Conversion(connection, quantity, unit)
    times: list[float] = []
    values: list[float] = []
    while len(times) <= span.limit and (rows := cursor.fetchmany(CHUNK)):
        stamps, states, attributes = zip(*rows, strict=True)
        if (found := convert.all(states, attributes)) is not None:
            times += stamps
            values += found
            continue
        for stamp, state, attributes_id in rows:
            if (value := convert.one(state, attributes_id)) is not None:
                times.append(stamp)
                values.append(value)
    cursor.close()
    return times, values


class _Conversion:
    """States of one entity, each in the unit of its time, to values in one unit."""

    def __init__(self, connection: Connection, quantity: str, unit: str) -> None:
        """Choose the unit."""
        self._connection = connection
        self._formulas: dict[int | None, Callable[[float], float] | None] = {None: None}
        self._same: set[int | None] = set()
        """The attributes that name the unit asked for."""
        self._quantity = quantity
        self._unit = unit

    def all(
        self, states: Sequence[Any], attributes: Sequence[int | None]
    ) -> list[float] | None:
        """Return the values if all are numbers in the unit asked for."""
        for attributes_id in set(attributes):
            self._formula(attributes_id)
        if not self._same.issuperset(attributes):
            return None
        try:
            return list(map(float, states))
        except TypeError, ValueError:
            return None

    def one(self, state: str | None, attributes_id: int | None) -> float | None:
        """Return the value, None for a gap and for a unit that is not known."""
        return number(state, self._formula(attributes_id))

    def _formula(self, attributes_id: int | None) -> Callable[[float], float] | None:
        """Return what makes of a number with these attributes a value."""
        if attributes_id not in self._formulas:
            unit = self._unit_of(attributes_id)
            if unit == self._unit:
                self._same.add(attributes_id)
            self._formulas[attributes_id] = conversion(self._quantity, unit, self._unit)
        return self._formulas[attributes_id]

    def _unit_of(self, attributes_id: int | None) -> str | None:
        """Return the unit that was shown with these attributes."""
        attributes = _STATE_ATTRIBUTES.columns
        statement = select(attributes.shared_attrs).where(
            attributes.attributes_id == attributes_id
        )
        shared = self._connection.execute(statement).scalar()
        known = json_loads_object(shared) if shared else {}
        unit = known.get(ATTR_UNIT_OF_MEASUREMENT)
        return unit if isinstance(unit, str) else None
