"""The readings over HTTP, as JSON columns or CSV.

An answer is made in the recorder's executor, some devices at a time, and sent in these
pieces: neither the event loop nor the memory ever holds all of it.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from functools import cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from aiohttp import web
from homeassistant.auth.models import User
from homeassistant.components.http.auth import SIGN_QUERY_PARAM, async_sign_path
from homeassistant.components.http.const import KEY_HASS_USER
from homeassistant.const import ATTR_ENTITY_ID, ENTITY_MATCH_ALL
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.http import KEY_HASS, HomeAssistantView
from homeassistant.helpers.importlib import async_import_module
from homeassistant.helpers.network import NoURLAvailableError, get_url
from homeassistant.helpers.recorder import get_instance
from homeassistant.helpers.typing import VolSchemaType
from homeassistant.util import dt as dt_util
import voluptuous as vol
from yarl import URL

from .const import DOMAIN, READINGS_URL, Refusal
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

# The headers of each format; a browser saves CSV under this name.
HEADERS: Final = {
    "columns": {"Content-Type": "application/json; charset=utf-8"},
    "csv": {
        "Content-Type": "text/csv; charset=utf-8",
        "Content-Disposition": 'attachment; filename="readings.csv"',
    },
}
LINK_FIELDS: Final = (
    CONF_ORDER,
    CONF_PERIOD,
    CONF_PRESSURE_UNIT,
    CONF_TEMPERATURE_UNIT,
)
TARGETS: Final = ("area_id", "device_id", "entity_id", "floor_id", "label_id")


class Answer(NamedTuple):
    """An answer whose first piece is there."""

    headers: Mapping[str, str]
    first: bytes
    rest: AsyncIterator[bytes]


class ReadingsView(HomeAssistantView):
    """All readings of the targets in a span of time."""

    name = f"api:{DOMAIN}:readings"
    url = READINGS_URL

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer a query; the status is 400 if it cannot be answered."""
        try:
            answer = await _async_answer(request)
        except (HomeAssistantError, vol.Invalid) as err:
            return self.json_message(str(err), HTTPStatus.BAD_REQUEST)
        response = web.StreamResponse(headers=answer.headers)
        await response.prepare(request)
        await response.write(answer.first)
        async for piece in answer.rest:
            await response.write(piece)
        await response.write_eof()
        return response


@cache
def _schema() -> VolSchemaType:
    """Return the schema of a URL's parameters; most starts do not need it."""
    return cv.make_entity_service_schema(
        {**FIELDS, vol.Optional(CONF_FORMAT, default="columns"): vol.In(HEADERS)}
    )


async def _async_answer(request: web.Request) -> Answer:
    """Return an answer in JSON columns or CSV, with its first piece.

    Raises HomeAssistantError or vol.Invalid if the query cannot be answered.
    """
    hass = request.app[KEY_HASS]
    data = _schema()(_data(request))
    query = async_query(hass, data, request[KEY_HASS_USER])
    await async_import_module(hass, f"{__package__}.history.export")
    from .history.export import PIECES, batches

    start, devices, end = PIECES[data[CONF_FORMAT]]
    make = get_instance(hass).async_add_executor_job

    async def rest() -> AsyncIterator[bytes]:
        for numbers in await make(batches, hass, query):
            yield await make(devices, hass, query, numbers)
        yield end

    first = await make(start, hass, query)
    return Answer(HEADERS[data[CONF_FORMAT]], first, rest())


def _data(request: web.Request) -> dict[str, Any]:
    """Return a URL's parameters as the data of an action.

    A target may have several values, as parameters of one name or with commas.
    """
    data: dict[str, Any] = dict(request.query)
    data.pop(SIGN_QUERY_PARAM, None)
    for name in (CONF_START, CONF_END):
        # The plus sign of a time zone is decoded as a space.
        if "T" in data.get(name, ""):
            data[name] = data[name].replace(" ", "+")
    for target in TARGETS:
        if values := request.query.getall(target, []):
            data[target] = ",".join(values).split(",")
    if data.get(ATTR_ENTITY_ID) == [ENTITY_MATCH_ALL]:
        data[ATTR_ENTITY_ID] = ENTITY_MATCH_ALL
    return data


@callback
def async_link(
    hass: HomeAssistant, data: Mapping[str, Any], query: Query, valid_for: timedelta
) -> dict[str, Any]:
    """Return a link to the answer as CSV, and until when the link is valid.

    The link gives what the user of the query may read, or everything if that is Home
    Assistant itself.
    """
    parameters = {
        CONF_FORMAT: "csv",
        CONF_START: iso(query.start),
        CONF_END: iso(query.end),
        **{key: ",".join(cv.ensure_list(data[key])) for key in TARGETS if key in data},
        **{key: data[key] for key in LINK_FIELDS if key in data},
    }
    path = async_sign_path(
        hass,
        str(URL(READINGS_URL).with_query(parameters)),
        valid_for,
        refresh_token_id=None if query.user is None else _login(query.user),
        use_content_user=query.user is None,
    )
    return {
        "url": _base(hass) + path,
        "valid_until": (dt_util.utcnow() + valid_for).isoformat(timespec="seconds"),
    }


def _login(user: User) -> str:
    """Return the login of a user that was used last: the link ends with it."""
    if not user.refresh_tokens:
        raise refused(Refusal.NO_LOGIN)
    return max(
        user.refresh_tokens.values(),
        key=lambda token: token.last_used_at or token.created_at,
    ).id


def _base(hass: HomeAssistant) -> str:
    """Return the address of Home Assistant, or nothing if it is not known."""
    try:
        return get_url(hass, prefer_external=True)
    except NoURLAvailableError:
        return ""
