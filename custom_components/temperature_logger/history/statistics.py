"""Statistics of the recorder as columns: minimum, mean and maximum of each period.

Everything here blocks. It is called in the recorder's executor.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.util import dt as dt_util

from ..const import DIGITS
from ..units import base_quantity
from .readings import Columns, Span, StatisticsPeriod
from .recorder import STATISTICS, read_statistics

type Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""The rows of each entity, by its id."""


def read_periods(
    hass: HomeAssistant,
    entities: Mapping[str, str],
    units: Mapping[str, str],
    span: Span,
    period: StatisticsPeriod,
) -> Columns:
    """Return the statistics of a device, given its entities by quantity."""
    rows_by_entity: dict[str, Sequence[Mapping[str, Any]]] = {}
    times = (
        dt_util.utc_from_timestamp(span.start),
        dt_util.utc_from_timestamp(span.end),
    )
    # One unit at a time: the recorder has one class of units for CO2 and humidity.
    for unit in {units[quantity] for quantity in entities}:
        quantities = [quantity for quantity in entities if units[quantity] == unit]
        ids = {entities[quantity] for quantity in quantities}
        converters = {base_quantity(q).converter for q in quantities}
        classes = {str(converter.UNIT_CLASS): unit for converter in converters}
        rows_by_entity |= read_statistics(hass, ids, period, times, classes)
    rows = _by_time(rows_by_entity, entities, span)
    starts = sorted(rows, reverse=span.newest_first)
    collected_at = starts[: span.limit]
    names = [column_name(q, kind) for q in entities for kind in STATISTICS]
    return Columns(
        collected_at=collected_at,
        values={
            name: [rows[time].get(name) for time in collected_at] for name in names
        },
        truncated=len(starts) > span.limit,
    )


def column_name(quantity: str, kind: str) -> str:
    """Return the name of a column of statistics."""
    return f"{quantity}_{kind}"


def _by_time(
    rows_by_entity: Rows, entities: Mapping[str, str], span: Span
) -> dict[int, dict[str, float | None]]:
    """Return the values of each period that begins in a span, by column."""
    rows: dict[int, dict[str, float | None]] = {}
    for quantity, entity in entities.items():
        for row in rows_by_entity.get(entity, []):
            # Home Assistant also returns a day that begins before the span.
            if span.start <= row["start"] < span.end:
                values = rows.setdefault(int(row["start"]), {})
                values |= {
                    column_name(quantity, kind): round(value, DIGITS)
                    for kind in STATISTICS
                    if (value := row.get(kind)) is not None
                }
    return rows
