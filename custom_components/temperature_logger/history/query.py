"""Queries of the history, the same for the actions and over HTTP."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, get_args

from homeassistant.auth.models import User
from homeassistant.core import HomeAssistant
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.recorder import DATA_INSTANCE
from homeassistant.helpers.target import TargetSelection
from homeassistant.helpers.typing import VolDictType
from homeassistant.util import dt as dt_util
import voluptuous as vol

from ..const import CONF_END, CONF_START, RETENTION, Refusal
from ..translation import invalid, refused
from ..units import base_quantity
from .readings import Span, StatisticsPeriod
from .targets import Target, async_targets

type Period = Literal["raw"] | StatisticsPeriod

CONF_ORDER: Final = "order"
CONF_PERIOD: Final = "period"
CONF_PRESSURE_UNIT: Final = "pressure_unit"
CONF_TEMPERATURE_UNIT: Final = "temperature_unit"

NEWEST: Final = "newest"
ORDERS: Final = ("oldest", NEWEST)
RAW: Final = "raw"
PERIODS: Final = (RAW, *get_args(StatisticsPeriod.__value__))
# Only units whose third decimal is as fine as the sensors' resolution.
PRESSURE_UNITS: Final = ("hPa", "mbar", "kPa", "inHg", "mmHg", "psi")
TEMPERATURE_UNITS: Final = ("°C", "°F", "K")
UNIT_FIELDS: Final[VolDictType] = {
    vol.Optional(CONF_PRESSURE_UNIT): vol.In(PRESSURE_UNITS),
    vol.Optional(CONF_TEMPERATURE_UNIT): vol.In(TEMPERATURE_UNITS),
}
TARGETS: Final = ("area_id", "device_id", "entity_id", "floor_id", "label_id")
# Years that every clock and database supports.
YEARS: Final = range(1970, 2100)
QUERY_FIELDS: Final[VolDictType] = {
    vol.Optional(CONF_START): cv.datetime,
    vol.Optional(CONF_END): cv.datetime,
    vol.Optional(CONF_PERIOD, default=RAW): vol.In(PERIODS),
    vol.Optional(CONF_ORDER, default=ORDERS[0]): vol.In(ORDERS),
    **UNIT_FIELDS,
}


class Query(NamedTuple):
    """A query that can be answered."""

    user: User | None
    """The user who asks; None is Home Assistant itself."""
    targets: list[Target]
    period: Period
    newest_first: bool
    start: float
    """Unix time: the start of the span (inclusive)."""
    end: float
    """Unix time: the end of the span (exclusive)."""
    units: dict[str, str]
    """The unit of each quantity in the answer."""

    def span(self, limit: int) -> Span:
        """Return the span of the query, with a limit of readings for each device."""
        return Span(
            start=self.start, end=self.end, newest_first=self.newest_first, limit=limit
        )


def async_query(
    hass: HomeAssistant, data: Mapping[str, Any], user: User | None
) -> Query:
    """Return the query in the data of an action or of a URL.

    Raises HomeAssistantError if it cannot be answered.
    """
    if DATA_INSTANCE not in hass.data:
        raise refused(Refusal.NO_RECORDER)
    # The readings of the current second are included.
    now = _whole(dt_util.utcnow()) + timedelta(seconds=1)
    end = _utc(data.get(CONF_END)) or now
    start = _utc(data.get(CONF_START)) or end - timedelta(days=RETENTION)
    if start >= end:
        raise invalid(
            Refusal.START_AFTER_END, start=start.isoformat(), end=end.isoformat()
        )
    targets = async_targets(hass, TargetSelection(dict(data)), user)
    return Query(
        user=user,
        targets=targets,
        period=data.get(CONF_PERIOD, RAW),
        newest_first=data.get(CONF_ORDER) == NEWEST,
        start=start.timestamp(),
        end=end.timestamp(),
        units=_units(data, targets),
    )


def _units(data: Mapping[str, Any], targets: list[Target]) -> dict[str, str]:
    """Return the unit of each quantity in the answer."""
    chosen = {
        quantity: data[field]
        for quantity, field in (
            ("pressure", CONF_PRESSURE_UNIT),
            ("temperature", CONF_TEMPERATURE_UNIT),
        )
        if field in data
    }
    quantities = {quantity for target in targets for quantity in target.entities}
    bases = {quantity: base_quantity(quantity) for quantity in quantities}
    return {
        quantity: chosen.get(base.name, base.unit) for quantity, base in bases.items()
    }


def _utc(time: datetime | None) -> datetime | None:
    """Return a time in UTC; a time without a zone is local."""
    if time is None:
        return None
    if time.year not in YEARS:
        raise invalid(Refusal.NO_SUCH_TIME, time=str(time))
    return _whole(dt_util.as_utc(time))


def _whole(time: datetime) -> datetime:
    """Return a time without fractions of a second, like the times of readings."""
    return time.replace(microsecond=0)
