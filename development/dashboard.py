"""The dashboard that the owner sees first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TITLE = "Thermometers"
URL_PATH = "temperature-logger"

# A wide screen shows this number of columns.
MAX_COLUMNS = 4

THERMOMETER = "mdi:thermometer"

type Card = dict[str, Any]

ICONS: Mapping[str, str] = {
    "atmospheric_pressure": "mdi:gauge",
    "data_size": "mdi:harddisk",
    "humidity": "mdi:water-percent",
}

# The ends of a gauge's scale, by name or device class: the usual values of freezers,
# rooms, weather and a CPU.
SCALES: Mapping[str, tuple[float, float]] = {
    "CPU temperature": (0, 100),
    "atmospheric_pressure": (960, 1060),
    "humidity": (0, 100),
    "temperature": (-30, 40),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """An entity to show."""

    entity_id: str
    name: str
    device: str
    device_class: str


def config(values: list[Value]) -> dict[str, Any]:
    """Return the dashboard: present values, the last day, and all recorded values."""
    devices: dict[str, list[Value]] = {}
    classes: dict[str, list[Value]] = {}
    for value in values:
        devices.setdefault(value.device, []).append(value)
        classes.setdefault(value.device_class, []).append(value)
    return {
        "views": [
            {
                "title": "Now",
                "path": "now",
                "type": "sections",
                "max_columns": MAX_COLUMNS,
                "sections": [
                    _device(name, entities) for name, entities in devices.items()
                ],
            },
            {
                "title": "14 days",
                "path": "days",
                "type": "sections",
                "max_columns": MAX_COLUMNS,
                "sections": [_class(entities) for entities in classes.values()],
            },
        ]
    }


def _device(name: str, values: list[Value]) -> Card:
    """Return a device's gauges over the curves of its last day."""
    scales = [(value, _scale(value)) for value in values]
    gauges = [(value, scale) for value, scale in scales if scale is not None]
    columns = 12 // max(2, min(len(gauges), 3))
    curves = _history({value.entity_id: value.name for value in values}, hours=24)
    return _section(name, [*(_gauge(*gauge, columns) for gauge in gauges), curves])


def _scale(value: Value) -> tuple[float, float] | None:
    """Return the ends of a gauge's scale; None for a quantity without a gauge."""
    return SCALES.get(value.name) or SCALES.get(value.device_class)


def _class(values: list[Value]) -> Card:
    """Return the curves of one physical quantity, those of all devices together."""
    title = values[0].device_class.replace("_", " ").capitalize()
    names = {value.entity_id: f"{value.device} {value.name}" for value in values}
    icon = ICONS.get(values[0].device_class, THERMOMETER)
    return _section(
        title, [_history(names, hours=14 * 24)], columns=MAX_COLUMNS, icon=icon
    )


def _section(
    title: str, cards: list[Card], columns: int = 1, icon: str = THERMOMETER
) -> Card:
    """Return cards below a heading."""
    heading = {"type": "heading", "heading": title, "icon": icon}
    return {"type": "grid", "column_span": columns, "cards": [heading, *cards]}


def _gauge(value: Value, scale: tuple[float, float], columns: int) -> Card:
    """Return a gauge."""
    least, most = scale
    return {
        "type": "gauge",
        "entity": value.entity_id,
        # The longest name would not fit.
        "name": value.name.replace("Atmospheric pressure", "Pressure"),
        "min": least,
        "max": most,
        "needle": True,
        "grid_options": {"columns": columns, "rows": "auto"},
    }


def _history(names: Mapping[str, str], *, hours: int) -> Card:
    """Return named curves; those of one unit share a chart."""
    return {
        "type": "history-graph",
        "hours_to_show": hours,
        "entities": [
            {"entity": entity_id, "name": name} for entity_id, name in names.items()
        ],
        "grid_options": {"columns": "full"},
    }
