"""What the view of all readings does; imported with the first question.

Readings are made in the recorder's executor, some devices at a time, and sent as soon
as they are there: neither the event loop nor the memory ever holds all of them.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

from aiohttp import web
from homeassistant.auth.models import User
from homeassistant.components.http.auth import SIGN_QUERY_PARAM, async_sign_path
from homeassistant.components.http.const import KEY_HASS_USER
from homeassistant.const import ATTR_ENTITY_ID, ENTITY_MATCH_ALL
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.http import KEY_HASS
from homeassistant.helpers.importlib import async_import_module
from homeassistant.helpers.network import NoURLAvailableError, get_url
from homeassistant.helpers.recorder import get_instance
from homeassistant.util import dt as dt_util
import voluptuous as vol
from yarl import URL

from .const import READINGS_URL, Refusal
from .history.query import (
    CONF_END,
    CONF_FORMAT,
    CONF_ORDER,
    CONF_PERIOD,
    CONF_PRESSURE_UNIT,
    CONF_START,
    CONF_TEMPERATURE_UNIT,
    FIELDS,
    Query,
    async_query,
)
from .history.readings import iso
from .translation import refused

# What there is, with its headers; a browser saves CSV under a name that opens.
HEADERS: Final = {
    "columns": {"Content-Type": "application/json; charset=utf-8"},
    "csv": {
        "Content-Type": "text/csv; charset=utf-8",
        "Content-Disposition": 'attachment; filename="readings.csv"',
    },
}
PLAIN: Final = (CONF_ORDER, CONF_PERIOD, CONF_PRESSURE_UNIT, CONF_TEMPERATURE_UNIT)
TARGETS: Final = ("area_id", "device_id", "entity_id", "floor_id", "label_id")

QUERY: Final = cv.make_entity_service_schema(
    {**FIELDS, vol.Optional(CONF_FORMAT, default="columns"): vol.In(HEADERS)}
)


async def async_import_answers(hass: HomeAssistant) -> None:
    """Import what needs the recorder, and so the packages that only it brings."""
    await async_import_module(hass, f"{__package__}.history.export")


class Answer(NamedTuple):
    """An answer of which the beginning is there."""

    headers: Mapping[str, str]
    first: bytes
    rest: AsyncIterator[bytes]


async def async_answer(request: web.Request) -> Answer:
    """Begin an answer in JSON columns or CSV.

    Raises HomeAssistantError or vol.Invalid for what cannot be had.
    """
    hass = request.app[KEY_HASS]
    query = QUERY(_data(request))
    asked = async_query(hass, query, request[KEY_HASS_USER])
    await async_import_answers(hass)
    from .history.export import PIECES, batches

    start, devices, end = PIECES[query[CONF_FORMAT]]
    make = get_instance(hass).async_add_executor_job

    async def rest() -> AsyncIterator[bytes]:
        for numbers in await make(batches, hass, asked):
            yield await make(devices, hass, asked, numbers)
        yield end

    first = await make(start, hass, asked)
    return Answer(HEADERS[query[CONF_FORMAT]], first, rest())


@callback
def async_link(
    hass: HomeAssistant,
    data: Mapping[str, Any],
    asked: Query,
    valid_for: timedelta,
) -> dict[str, Any]:
    """Return a link to the CSV of what is asked for, and until when it is valid.

    Who opens it gets what the user who asks may read; None is Home Assistant itself.
    """
    query = {
        CONF_FORMAT: "csv",
        CONF_START: iso(asked.start),
        CONF_END: iso(asked.end),
        **{key: ",".join(cv.ensure_list(data[key])) for key in TARGETS if key in data},
        **{key: data[key] for key in PLAIN if key in data},
    }
    path = async_sign_path(
        hass,
        str(URL(READINGS_URL).with_query(query)),
        valid_for,
        refresh_token_id=None if asked.user is None else _login(asked.user),
        use_content_user=asked.user is None,
    )
    return {
        "url": _base(hass) + path,
        "valid_until": (dt_util.utcnow() + valid_for).isoformat(timespec="seconds"),
    }


def _login(user: User) -> str:
    """Return the login of a user that a link counts for: the one used last."""
    if not user.refresh_tokens:
        raise refused(Refusal.NO_LOGIN)
    return max(
        user.refresh_tokens.values(),
        key=lambda token: token.last_used_at or token.created_at,
    ).id


def _base(hass: HomeAssistant) -> str:
    """Return where Home Assistant is found; nothing if it does not know."""
    try:
        return get_url(hass, prefer_external=True)
    except NoURLAvailableError:
        return ""


def _data(request: web.Request) -> dict[str, Any]:
    """Return a query as an action's data; targets may be several, with commas."""
    data: dict[str, Any] = dict(request.query)
    data.pop(SIGN_QUERY_PARAM, None)
    for name in (CONF_START, CONF_END):
        # The plus of a time zone is a space to who reads a query by the rules.
        if "T" in data.get(name, ""):
            data[name] = data[name].replace(" ", "+")
    for target in TARGETS:
        if values := request.query.getall(target, []):
            data[target] = ",".join(values).split(",")
    if data.get(ATTR_ENTITY_ID) == [ENTITY_MATCH_ALL]:
        data[ATTR_ENTITY_ID] = ENTITY_MATCH_ALL
    return data
