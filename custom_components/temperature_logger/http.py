"""The readings over HTTP, as JSON columns or CSV.

An answer is made in the recorder's executor, some devices at a time, and sent in these
pieces: neither the event loop nor the memory ever holds all of it.
"""

from collections.abc import AsyncIterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from homeassistant.components.http.auth import SIGN_QUERY_PARAM
from homeassistant.components.http.const import KEY_HASS_USER
from homeassistant.const import ATTR_ENTITY_ID, ENTITY_MATCH_ALL
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.http import KEY_HASS, HomeAssistantView
from homeassistant.helpers.importlib import async_import_module
from homeassistant.helpers.recorder import get_instance
from homeassistant.helpers.typing import VolSchemaType
import voluptuous as vol

from .const import CONF_END, CONF_FORMAT, CONF_START, DOMAIN, READINGS_URL

# The headers of each format; a browser saves CSV under this name.
HEADERS: Final = {
    "columns": {"Content-Type": "application/json; charset=utf-8"},
    "csv": {
        "Content-Type": "text/csv; charset=utf-8",
        "Content-Disposition": 'attachment; filename="readings.csv"',
    },
}


class ReadingsView(HomeAssistantView):
    """All readings of the targets in a span of time."""

    name = f"api:{DOMAIN}:readings"
    url = READINGS_URL

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer a query; the status is 400 if it cannot be answered."""
        try:
            headers, first, rest = await _async_answer(request)
        except (HomeAssistantError, vol.Invalid) as err:
            return self.json_message(str(err), HTTPStatus.BAD_REQUEST)
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        await response.write(first)
        async for piece in rest:
            await response.write(piece)
        await response.write_eof()
        return response


@cache
def _schema() -> VolSchemaType:
    """Return the schema of a URL's parameters; the first call makes it."""
    from .history.query import QUERY_FIELDS

    return cv.make_entity_service_schema(
        {**QUERY_FIELDS, vol.Optional(CONF_FORMAT, default="columns"): vol.In(HEADERS)}
    )


async def _async_answer(
    request: web.Request,
) -> tuple[Mapping[str, str], bytes, AsyncIterator[bytes]]:
    """Return the headers of an answer, its first piece and an iterator of the rest.

    Raises HomeAssistantError or vol.Invalid if the query cannot be answered.
    """
    hass = request.app[KEY_HASS]
    await async_import_module(hass, f"{__package__}.history.query")
    from .history.query import async_query

    data = _schema()(_data(request))
    query = async_query(hass, data, request[KEY_HASS_USER])
    await async_import_module(hass, f"{__package__}.history.export")
    from .history.export import PIECES, device_groups

    start, devices, end = PIECES[data[CONF_FORMAT]]
    make = get_instance(hass).async_add_executor_job

    async def rest() -> AsyncIterator[bytes]:
        for group in await make(device_groups, hass, query):
            yield await make(devices, hass, query, group)
        yield end

    first = await make(start, hass, query)
    return HEADERS[data[CONF_FORMAT]], first, rest()


def _data(request: web.Request) -> dict[str, Any]:
    """Return a URL's parameters as the data of an action.

    A target may have several values, as parameters of one name or with commas.
    """
    from .history.query import TARGETS

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
