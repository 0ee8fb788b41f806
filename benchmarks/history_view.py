"""Measure the view of all readings with a harness for histories.

    python benchmarks/history_view.py HARNESS/history.py [options of the harness]

The harness is a module with `main()` and `queries(rest, ws, entities, span, action)`;
`queries` returns functions by name, each of which returns milliseconds, bytes and the
answer.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
import importlib
import json
from pathlib import Path
import sys
from typing import Any
from urllib.parse import urlencode

URL = "/api/temperature_logger/readings"
# Home Assistant closes a WebSocket connection that waits with an answer of this size.
CLOSING_QUERY = "WS history_during_period (full)"
MANY_ENTITIES = 50

type Answer = tuple[float, int, bytes]
type Queries = dict[str, Callable[[], Answer]]


def main() -> int:
    """Run the harness with more queries; return its exit status."""
    path = Path(sys.argv.pop(1)).resolve()
    sys.path.insert(0, str(path.parent))
    harness: Any = importlib.import_module(path.stem)
    harness.queries = partial(queries, harness.queries)
    status: int = harness.main()
    return status


def queries(
    other_queries: Callable[..., Queries],
    rest: Any,  # noqa: ANN401 - The harness has no types.
    ws: Any,  # noqa: ANN401
    entities: list[str],
    *more: Any,  # noqa: ANN401
) -> Queries:
    """Return the queries of the harness, and those of the view."""
    all_queries = other_queries(rest, ws, entities, *more)
    span = more[0]
    if len(entities) >= MANY_ENTITIES:
        all_queries.pop(CLOSING_QUERY, None)
    return all_queries | {
        f"view {kind}": partial(view, rest, entities, span, kind)
        for kind in ("columns", "csv")
    }


def view(
    rest: Any,  # noqa: ANN401
    entities: list[str],
    span: dict[str, float],
    kind: str,
) -> Answer:
    """Query the view."""
    query = {
        "entity_id": ",".join(entities),
        "start": datetime.fromtimestamp(span["start"], UTC).isoformat(),
        "end": datetime.fromtimestamp(span["end"], UTC).isoformat(),
        "format": kind,
    }
    duration, size, answer = rest.ask(f"{URL}?{urlencode(query)}")
    if kind == "csv":
        # The harness counts the readings in JSON.
        answer = json.dumps([{}] * (answer.count(b"\n") - 1)).encode()
    return duration, size, answer


if __name__ == "__main__":
    sys.exit(main())
