"""Write past readings into a recorder database that has not been used yet."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
import json
from pathlib import Path
from typing import Any

from homeassistant.components.recorder import migration
from homeassistant.components.recorder.db_schema import (
    Base,
    RecorderRuns,
    StateAttributes,
    States,
    StatesMeta,
    StatisticsRuns,
)
from homeassistant.components.sensor import SensorStateClass
from homeassistant.util.ulid import ulid_at_time, ulid_to_bytes
from sqlalchemy import create_engine, delete, insert
from sqlalchemy.orm import Session, sessionmaker

from emulation.values import value_at

from .devices import Series

DAYS = 14
INTERVAL = 300


def write(database: Path, all_series: Iterable[Series], end: float) -> None:
    """Make a database with two weeks of readings up to a Unix time."""
    end -= end % INTERVAL
    start = end - DAYS * 86_400
    engine = create_engine(f"sqlite:///{database}")
    try:
        Base.metadata.create_all(engine)
        migration.initialize_database(sessionmaker(engine))
        with Session(engine) as session, session.begin():
            # A run is proof for the recorder that statistics were compiled until its
            # end. Without one the recorder compiles them from the readings at its first
            # start.
            session.execute(delete(StatisticsRuns))
            session.execute(insert(RecorderRuns), _run(start, end))
            series_by_number = dict(enumerate(all_series, 1))
            for number, series in series_by_number.items():
                session.execute(insert(StatesMeta), _meta(number, series))
                session.execute(insert(StateAttributes), _attributes(number, series))
            session.execute(insert(States), list(_states(series_by_number, start, end)))
    finally:
        engine.dispose()


def _run(start: float, end: float) -> dict[str, Any]:
    """Return the run of the recorder that could have written the readings."""
    return {
        "start": datetime.fromtimestamp(start, UTC),
        # An end within ten minutes counts as a clean one.
        "end": datetime.now(UTC),
        "closed_incorrect": False,
        "created": datetime.fromtimestamp(end, UTC),
    }


def _meta(number: int, series: Series) -> dict[str, Any]:
    """Return the row that numbers an entity."""
    return {"metadata_id": number, "entity_id": series.entity_id}


def _attributes(number: int, series: Series) -> dict[str, Any]:
    """Return the row with the attributes of an entity that statistics need."""
    attributes = {
        "state_class": SensorStateClass.MEASUREMENT,
        "unit_of_measurement": series.unit,
        "device_class": series.device_class,
    }
    shared = json.dumps(attributes, ensure_ascii=False, separators=(",", ":"))
    return {
        "attributes_id": number,
        "hash": StateAttributes.hash_shared_attrs_bytes(shared.encode()),
        "shared_attrs": shared,
    }


def _states(
    series_by_number: dict[int, Series], start: float, end: float
) -> Iterator[dict[str, Any]]:
    """Yield the rows in the order of a recorder's writes."""
    previous: dict[int, dict[str, Any]] = {}
    state_id = 0
    for step in range(int(end - start) // INTERVAL + 1):
        time = start + step * INTERVAL
        for number, series in series_by_number.items():
            if (value := value_at(series.value, time)) is None:
                continue
            state_id += 1
            before = previous.get(number, {})
            # A row has a time of the last change only where that differs from its own.
            changed = None
            if before.get("state") == str(value):
                changed = before["last_changed_ts"] or before["last_updated_ts"]
            previous[number] = {
                "state_id": state_id,
                "metadata_id": number,
                "attributes_id": number,
                "state": str(value),
                "last_changed_ts": changed,
                "last_reported_ts": None,
                "last_updated_ts": time,
                "old_state_id": before.get("state_id"),
                "origin_idx": 0,
                "context_id_bin": ulid_to_bytes(ulid_at_time(time)),
            }
            yield previous[number]
