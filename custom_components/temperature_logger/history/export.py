"""Answers of the history: readings as rows, as columns or as CSV.

Everything here blocks. It is called in the recorder's executor.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import csv
import io
from itertools import repeat
import os
from pathlib import Path
import sys
from typing import Any, Final, NamedTuple

from atomicwrites import AtomicWriter
from homeassistant.core import HomeAssistant
from homeassistant.helpers.json import json_bytes

from ..const import Refusal
from ..drivers import in_order
from ..translation import invalid, refused
from . import series
from .query import RAW, Query
from .readings import Columns, Series, Span, iso, to_columns
from .recorder import STATISTICS, check_schema, has_statistics
from .statistics import column_name, read_periods
from .targets import Target

TIME: Final = "collected_at"


def check(hass: HomeAssistant, query: Query) -> None:
    """Raise HomeAssistantError if the recorder cannot answer a query."""
    check_schema(hass, "read")
    entities = {e for target in query.targets for e in target.entities.values()}
    if query.period != RAW and not has_statistics(hass, entities, query.period):
        raise refused(Refusal.NO_STATISTICS, period=query.period)


def readings(
    hass: HomeAssistant, query: Query, limit: int, *, as_rows: bool
) -> dict[str, Any]:
    """Return the readings of all devices, up to a limit that they share."""
    check(hass, query)
    devices: list[dict[str, Any]] = []
    truncated = False
    for target in query.targets:
        columns = next(_read(hass, query, [target], limit))
        limit -= len(columns.collected_at)
        truncated |= columns.truncated
        content = _as_rows(columns) if as_rows else _as_columns(columns)
        devices.append(_head(query, target) | {"readings": content})
    return _frame(query) | {"truncated": truncated, "devices": devices}


def latest(
    hass: HomeAssistant,
    query: Query,
    current: Sequence[Mapping[str, Series]],
    now: float,
) -> dict[str, Any]:
    """Return the latest reading of each device, and its age in seconds.

    It comes from the current states; without any, from the database.
    """
    check(hass, query)
    span = Span(start=0, end=now, newest_first=True, limit=1)
    devices: list[dict[str, Any]] = []
    for target, values in zip(query.targets, current, strict=True):
        columns = (
            to_columns(target.entities, values, span)
            if values
            else next(series.read_readings(hass, [target.entities], query.units, span))
        )
        reading = next(iter(_as_rows(columns)), None)
        age = round(now - columns.collected_at[0]) if reading else None
        devices.append(_head(query, target) | {"age": age, "reading": reading})
    return {"devices": devices}


def write_csv(hass: HomeAssistant, query: Query, path: Path) -> None:
    """Write CSV to a file; an existing file is replaced when all is written."""
    if not hass.config.is_allowed_path(str(path)):
        raise invalid(
            Refusal.PATH_NOT_ALLOWED,
            path=str(path),
            allowed=", ".join(sorted(hass.config.allowlist_external_dirs)),
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with AtomicWriter(path, mode="wb", overwrite=True).open() as file:
            # Only its owner can read a temporary file; others may read the result.
            os.fchmod(file.fileno(), 0o644)
            file.write(csv_start(hass, query))
            for group in device_groups(hass, query):
                file.write(csv_devices(hass, query, group))
    except OSError as err:
        raise refused(
            Refusal.NOT_WRITTEN, path=str(path), error=err.strerror or str(err)
        ) from err


def json_start(hass: HomeAssistant, query: Query) -> bytes:
    """Return the start of a JSON answer, up to the first device."""
    check(hass, query)
    return json_bytes(_frame(query)).removesuffix(b"}") + b',"devices":['


def json_devices(hass: HomeAssistant, query: Query, group: range) -> bytes:
    """Return a group of devices in a JSON answer."""
    devices = [
        json_bytes(_head(query, target) | {"readings": _as_columns(columns)})
        for target, columns in _read_group(hass, query, group)
    ]
    return (b"," if group.start else b"") + b",".join(devices)


def csv_start(hass: HomeAssistant, query: Query) -> bytes:
    """Return the header of CSV: the name and the unit of each column."""
    check(hass, query)
    units = _units(query, list(query.units))
    return _csv(
        [["device", TIME, *(f"{name} [{unit}]" for name, unit in units.items())]]
    )


def csv_devices(hass: HomeAssistant, query: Query, group: range) -> bytes:
    """Return the CSV of a group of devices; missing values are empty fields."""
    names = list(_units(query, list(query.units)))
    return b"".join(
        _csv(
            zip(
                repeat(_label(query, target), len(columns.collected_at)),
                map(iso, columns.collected_at),
                *(
                    columns.values.get(name, repeat(None, len(columns.collected_at)))
                    for name in names
                ),
                strict=True,
            )
        )
        for target, columns in _read_group(hass, query, group)
    )


def _read_group(
    hass: HomeAssistant, query: Query, group: range
) -> Iterator[tuple[Target, Columns]]:
    """Yield each device of a group, with all its readings."""
    targets = [query.targets[index] for index in group]
    yield from zip(targets, _read(hass, query, targets, sys.maxsize), strict=True)


def _label(query: Query, target: Target) -> str:
    """Return the name of a device in CSV, with its id if another one has that name."""
    alike = [other for other in query.targets if other.name == target.name]
    return target.name if len(alike) == 1 else f"{target.name} ({target.device_id})"


def device_groups(hass: HomeAssistant, query: Query) -> list[range]:
    """Return the groups of devices that are read together, as indexes of targets."""
    if query.period != RAW:
        return [range(index, index + 1) for index in range(len(query.targets))]
    devices = [target.entities for target in query.targets]
    return series.device_groups(hass, devices, query.span(sys.maxsize))


class Pieces(NamedTuple):
    """The functions for the pieces of an answer over HTTP."""

    start: Callable[[HomeAssistant, Query], bytes]
    devices: Callable[[HomeAssistant, Query, range], bytes]
    end: bytes


PIECES: Final = {
    "columns": Pieces(json_start, json_devices, b"]}"),
    "csv": Pieces(csv_start, csv_devices, b""),
}


def _read(
    hass: HomeAssistant, query: Query, targets: Iterable[Target], limit: int
) -> Iterator[Columns]:
    """Yield the readings of some devices."""
    devices = [target.entities for target in targets]
    span = query.span(limit)
    if query.period == RAW:
        yield from series.read_readings(hass, devices, query.units, span)
        return
    for entities in devices:
        yield read_periods(hass, entities, query.units, span, query.period)


def _frame(query: Query) -> dict[str, Any]:
    """Return the span and the period of an answer."""
    return {"start": iso(query.start), "end": iso(query.end), "period": query.period}


def _head(query: Query, target: Target) -> dict[str, Any]:
    """Return the id and name of a device, and the unit of each of its columns."""
    return {
        "device_id": target.device_id,
        "name": target.name,
        "units": _units(query, list(target.entities)),
    }


def _units(query: Query, quantities: list[str]) -> dict[str, str]:
    """Return the unit of each column."""
    if query.period == RAW:
        return {quantity: query.units[quantity] for quantity in in_order(quantities)}
    return {
        column_name(quantity, kind): query.units[quantity]
        for quantity in in_order(quantities)
        for kind in STATISTICS
    }


def _as_rows(columns: Columns) -> list[dict[str, Any]]:
    """Return a dictionary for each reading."""
    names = (TIME, *columns.values)
    times = map(iso, columns.collected_at)
    return [
        dict(zip(names, row, strict=True))
        for row in zip(times, *columns.values.values(), strict=True)
    ]


def _as_columns(columns: Columns) -> dict[str, Any]:
    """Return the Unix times, and a list for each quantity."""
    return {TIME: columns.collected_at, **columns.values}


def _csv(lines: Iterable[Iterable[object]]) -> bytes:
    """Return lines of CSV (RFC 4180)."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()
