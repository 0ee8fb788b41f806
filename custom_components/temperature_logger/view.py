"""The bulk road: any number of readings over HTTP.

They are made in the recorder's executor, device by device, and each device is sent as
soon as it is there: neither the event loop nor the memory ever holds all of them.
"""

from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from homeassistant.components.http.auth import SIGN_QUERY_PARAM
from homeassistant.components.http.const import KEY_HASS_USER
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.http import KEY_HASS, HomeAssistantView
from homeassistant.helpers.importlib import async_import_module
from homeassistant.helpers.recorder import get_instance
import voluptuous as vol

from .const import DOMAIN
from .request import CONF_FORMAT, FIELDS, async_request

TYPES: Final = {"columns": "application/json", "csv": "text/csv"}
TARGETS: Final = ("area_id", "device_id", "entity_id", "floor_id", "label_id")

QUERY: Final = cv.make_entity_service_schema(
    {**FIELDS, vol.Optional(CONF_FORMAT, default="columns"): vol.In(TYPES)}
)


class ReadingsView(HomeAssistantView):
    """All readings of some targets in a span of time."""

    name = f"api:{DOMAIN}:readings"
    url = f"/api/{DOMAIN}/readings"

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer with JSON columns or CSV, and with 400 to what cannot be had."""
        hass = request.app[KEY_HASS]
        try:
            query = QUERY(_data(request))
            asked = async_request(hass, query, request[KEY_HASS_USER])
            await async_import_module(hass, f"{__package__}.answers")
            from .answers import PIECES

            start, device, end = PIECES[query[CONF_FORMAT]]
            make = get_instance(hass).async_add_executor_job
            first = await make(start, hass, asked)
        except (HomeAssistantError, vol.Invalid) as err:
            return self.json_message(str(err), HTTPStatus.BAD_REQUEST)
        response = web.StreamResponse(
            headers={"Content-Type": f"{TYPES[query[CONF_FORMAT]]}; charset=utf-8"}
        )
        await response.prepare(request)
        await response.write(first)
        for number in range(len(asked.targets)):
            await response.write(await make(device, hass, asked, number))
        await response.write_eof(end)
        return response


def _data(request: web.Request) -> dict[str, Any]:
    """Return a query as an action's data; targets may be several, with commas."""
    data: dict[str, Any] = dict(request.query)
    data.pop(SIGN_QUERY_PARAM, None)
    for target in TARGETS:
        if values := request.query.getall(target, []):
            data[target] = [one for value in values for one in value.split(",")]
    return data
