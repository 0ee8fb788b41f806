"""Readings as an answer: rows, columns or CSV. Everything here blocks."""

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
from . import rows
from .query import RAW, Request
from .readings import Columns, Series, Span, iso, to_columns
from .rows import STATISTICS, statistic
from .tables import READ, check_schema
from .targets import Target

TIME: Final = "collected_at"


def check(hass: HomeAssistant, request: Request) -> None:
    """Raise HomeAssistantError where the recorder cannot answer."""
    check_schema(hass, READ)
    entities = {e for target in request.targets for e in target.entities.values()}
    if request.period != RAW and not rows.have_statistics(
        hass, entities, request.period
    ):
        raise refused(Refusal.NO_STATISTICS, period=request.period)


def readings(
    hass: HomeAssistant, request: Request, limit: int, *, as_rows: bool
) -> dict[str, Any]:
    """Return the answer of the action, with up to so many readings of all devices."""
    check(hass, request)
    devices: list[dict[str, Any]] = []
    truncated = False
    for target in request.targets:
        found = next(_columns(hass, request, [target], limit))
        limit -= len(found.collected_at)
        truncated |= found.truncated
        content = _rows(found) if as_rows else _as_columns(found)
        devices.append(_head(request, target) | {"readings": content})
    return _frame(request) | {"truncated": truncated, "devices": devices}


def latest(
    hass: HomeAssistant,
    request: Request,
    shown: Sequence[Mapping[str, Series]],
    now: float,
) -> dict[str, Any]:
    """Return the latest reading of each device, and its age in seconds.

    A device that shows nothing now is looked up.
    """
    check(hass, request)
    span = Span(start=0, end=now, newest_first=True, limit=1)
    devices: list[dict[str, Any]] = []
    for target, series in zip(request.targets, shown, strict=True):
        found = (
            to_columns(target.entities, series, span)
            if series
            else next(rows.raw(hass, [target.entities], request.units, span))
        )
        reading = next(iter(_rows(found)), None)
        age = round(now - found.collected_at[0]) if reading else None
        devices.append(_head(request, target) | {"age": age, "reading": reading})
    return {"devices": devices}


def write_csv(hass: HomeAssistant, request: Request, path: Path) -> None:
    """Write CSV to a file; what was there before stays until all is written."""
    if not hass.config.is_allowed_path(str(path)):
        raise invalid(
            Refusal.PATH_NOT_ALLOWED,
            path=str(path),
            allowed=", ".join(sorted(hass.config.allowlist_external_dirs)),
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with AtomicWriter(path, mode="wb", overwrite=True).open() as file:
            # Not for the eyes of Home Assistant alone, as temporary files are.
            os.fchmod(file.fileno(), 0o644)
            file.write(csv_start(hass, request))
            for numbers in batches(hass, request):
                file.write(csv_devices(hass, request, numbers))
    except OSError as err:
        raise refused(
            Refusal.NOT_WRITTEN, path=str(path), error=err.strerror or str(err)
        ) from err


def json_start(hass: HomeAssistant, request: Request) -> bytes:
    """Return what comes before the devices in the answer over HTTP."""
    check(hass, request)
    return json_bytes(_frame(request)).removesuffix(b"}") + b',"devices":['


def json_devices(hass: HomeAssistant, request: Request, numbers: range) -> bytes:
    """Return some devices of the answer over HTTP."""
    answers = [
        json_bytes(_head(request, target) | {"readings": _as_columns(found)})
        for target, found in _numbered(hass, request, numbers)
    ]
    return (b"," if numbers.start else b"") + b",".join(answers)


def csv_start(hass: HomeAssistant, request: Request) -> bytes:
    """Return the line that says what each column is, and its unit."""
    check(hass, request)
    units = _units(request, list(request.units))
    return _csv(
        [["device", TIME, *(f"{name} [{unit}]" for name, unit in units.items())]]
    )


def csv_devices(hass: HomeAssistant, request: Request, numbers: range) -> bytes:
    """Return the lines of some devices; columns that one does not have are empty."""
    names = list(_units(request, list(request.units)))
    return b"".join(
        _csv(
            zip(
                repeat(_label(request, target), len(found.collected_at)),
                map(iso, found.collected_at),
                *(
                    found.values.get(name, repeat(None, len(found.collected_at)))
                    for name in names
                ),
                strict=True,
            )
        )
        for target, found in _numbered(hass, request, numbers)
    )


def _numbered(
    hass: HomeAssistant, request: Request, numbers: range
) -> Iterator[tuple[Target, Columns]]:
    """Yield some devices with all their readings."""
    targets = [request.targets[number] for number in numbers]
    found = _columns(hass, request, targets, sys.maxsize)
    yield from zip(targets, found, strict=True)


def _label(request: Request, target: Target) -> str:
    """Return what a line of CSV calls a device: its name, if that tells which one."""
    alike = [other for other in request.targets if other.name == target.name]
    return target.name if len(alike) == 1 else f"{target.name} ({target.device_id})"


def batches(hass: HomeAssistant, request: Request) -> list[range]:
    """Return which devices are made together, by their numbers."""
    if request.period != RAW:
        return [range(number, number + 1) for number in range(len(request.targets))]
    devices = [target.entities for target in request.targets]
    return rows.batches(hass, devices, request.span(sys.maxsize))


class Pieces(NamedTuple):
    """What an answer over HTTP is made of."""

    start: Callable[[HomeAssistant, Request], bytes]
    devices: Callable[[HomeAssistant, Request, range], bytes]
    end: bytes


PIECES: Final = {
    "columns": Pieces(json_start, json_devices, b"]}"),
    "csv": Pieces(csv_start, csv_devices, b""),
}


def _columns(
    hass: HomeAssistant, request: Request, targets: Iterable[Target], limit: int
) -> Iterator[Columns]:
    """Yield the readings of some devices."""
    devices = [target.entities for target in targets]
    span = request.span(limit)
    if request.period == RAW:
        yield from rows.raw(hass, devices, request.units, span)
        return
    for entities in devices:
        yield rows.statistics(hass, entities, request.units, span, request.period)


def _frame(request: Request) -> dict[str, Any]:
    """Return what an answer says of itself."""
    return {
        "start": iso(request.start),
        "end": iso(request.end),
        "period": request.period,
    }


def _head(request: Request, target: Target) -> dict[str, Any]:
    """Return what an answer says of a device."""
    return {
        "device_id": target.device_id,
        "name": target.name,
        "units": _units(request, list(target.entities)),
    }


def _units(request: Request, quantities: list[str]) -> dict[str, str]:
    """Return the unit of each column."""
    if request.period == RAW:
        return {quantity: request.units[quantity] for quantity in in_order(quantities)}
    return {
        statistic(quantity, kind): request.units[quantity]
        for quantity in in_order(quantities)
        for kind in STATISTICS
    }


def _rows(found: Columns) -> list[dict[str, Any]]:
    """Return one dictionary per reading."""
    names = (TIME, *found.values)
    times = map(iso, found.collected_at)
    return [
        dict(zip(names, row, strict=True))
        for row in zip(times, *found.values.values(), strict=True)
    ]


def _as_columns(found: Columns) -> dict[str, Any]:
    """Return one list per quantity, and the Unix times."""
    return {TIME: found.collected_at, **found.values}


def _csv(lines: Iterable[Iterable[object]]) -> bytes:
    """Return lines of CSV (RFC 4180)."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()
