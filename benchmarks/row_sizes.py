"""Write rows into the recorder's tables and print the bytes of each.

    python -m benchmarks.row_sizes sqlite:////FOLDER/new.db postgresql://USER@HOST/NEW

The databases have to be empty. The rows come as a recorder writes them: all sensors in
turn, each row with the one before. The sizes in the disk guard come from it.
"""

import argparse
from collections.abc import Iterator
import os
import sys
import time
from typing import Any

from homeassistant.components.recorder.db_schema import (
    Base,
    EventData,
    Events,
    EventTypes,
    StateAttributes,
    States,
    StatesMeta,
    Statistics,
    StatisticsMeta,
    StatisticsShortTerm,
)
from sqlalchemy import Connection, create_engine, insert, text

SENSORS, READINGS, INTERVAL = 200, 1000, 300
SIZES = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
    "postgresql": "SELECT pg_database_size(current_database())",
}

type Row = dict[str, Any]


def referred(connection: Connection) -> None:
    """Write the rows that other rows refer to."""
    ids = range(1, SENSORS + 1)
    names = [f"sensor.sensor_{n}" for n in ids]
    tables: dict[type[Base], list[Row]] = {
        StatesMeta: [{"metadata_id": n, "entity_id": names[n - 1]} for n in ids],
        StateAttributes: [
            {"attributes_id": n, "hash": n, "shared_attrs": "{}"} for n in ids
        ],
        EventTypes: [{"event_type_id": n, "event_type": f"event_{n}"} for n in ids],
        EventData: [{"data_id": n, "hash": n, "shared_data": "{}"} for n in ids],
        StatisticsMeta: [
            {
                "id": n,
                "statistic_id": names[n - 1],
                "source": "recorder",
                "unit_of_measurement": "°C",
                "has_sum": False,
                "mean_type": 1,
            }
            for n in ids
        ],
    }
    for table, rows in tables.items():
        connection.execute(insert(table), rows)


def state(step: int, sensor: int, at: float) -> Row:
    """Return a row of the history."""
    state_id = step * SENSORS + sensor
    return {
        "state_id": state_id,
        "state": f"{20 + (step * 7 + sensor) % 100 / 10}",
        "last_updated_ts": at,
        "old_state_id": state_id - SENSORS if step else None,
        "attributes_id": sensor,
        "context_id_bin": os.urandom(16),
        "metadata_id": sensor,
        "origin_idx": 0,
    }


def event(_: int, sensor: int, at: float) -> Row:
    """Return a row of the events."""
    return {
        "time_fired_ts": at,
        "context_id_bin": os.urandom(16),
        "origin_idx": 0,
        "event_type_id": sensor,
        "data_id": sensor,
    }


def statistic(step: int, sensor: int, at: float) -> Row:
    """Return a row of the statistics."""
    mean = 20 + (step * 7 + sensor) % 100 / 10
    return {
        "created_ts": at,
        "start_ts": at - at % INTERVAL,
        "metadata_id": sensor,
        "mean": mean + 0.123456,
        "min": mean,
        "max": mean + 0.5,
    }


TABLES = {
    States: state,
    Events: event,
    Statistics: statistic,
    StatisticsShortTerm: statistic,
}


def batches(table: type[Base]) -> Iterator[list[Row]]:
    """Yield the rows of one reading of all sensors after the other."""
    began = time.time() - READINGS * INTERVAL
    for step in range(READINGS):
        yield [
            TABLES[table](step, n, began + step * INTERVAL + n / SENSORS)
            for n in range(1, SENSORS + 1)
        ]


def measure(url: str) -> None:
    """Fill the tables of a database; print its growth."""
    engine = create_engine(url)
    kind = engine.dialect.name
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        referred(connection)
    for table in TABLES:
        sizes = []
        for rows in ([], *batches(table), []):
            with engine.begin() as connection:
                if rows:
                    connection.execute(insert(table), rows)
                else:
                    sizes.append(connection.execute(text(SIZES[kind])).scalar_one())
        row_size = (sizes[1] - sizes[0]) / (SENSORS * READINGS)
        sys.stdout.write(f"{kind} {table.__tablename__} {row_size:.0f}\n")
    engine.dispose()


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("urls", nargs="+")
    for url in parser.parse_args().urls:
        measure(url)


if __name__ == "__main__":
    main()
