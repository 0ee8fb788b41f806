"""The bulk road: any number of readings over HTTP.

They are made in the recorder's executor, device by device, and each device is sent as
soon as it is there: neither the event loop nor the memory ever holds all of them.
"""

from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from homeassistant.components.http.const import KEY_HASS_USER
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.http import KEY_HASS, HomeAssistantView
from homeassistant.helpers.importlib import async_import_module
from homeassistant.helpers.recorder import get_instance
import voluptuous as vol

from .const import DOMAIN
from .request import CONF_FORMAT, FIELDS, Request, async_request

FORMAT_CSV: Final = "csv"
TYPES: Final = {"columns": "application/json", FORMAT_CSV: "text/csv"}
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
            answer = await _Answer.of(hass, asked, query[CONF_FORMAT])
        except (HomeAssistantError, vol.Invalid) as err:
            return self.json_message(str(err), HTTPStatus.BAD_REQUEST)
        response = web.StreamResponse(
            headers={"Content-Type": f"{TYPES[query[CONF_FORMAT]]}; charset=utf-8"}
        )
        await response.prepare(request)
        await answer.send(response)
        return response


def _data(request: web.Request) -> dict[str, Any]:
    """Return a query as an action's data; targets may be several, with commas."""
    data: dict[str, Any] = dict(request.query)
    data.pop("authSig", None)  # What a signed link is signed with.
    for target in TARGETS:
        if values := request.query.getall(target, []):
            data[target] = [one for value in values for one in value.split(",")]
    return data


class _Answer:
    """An answer in pieces, each made in the recorder's executor."""

    def __init__(self, hass: HomeAssistant, asked: Request, *, is_csv: bool) -> None:
        """Choose the format."""
        from . import answers

        self._asked = asked
        self._hass = hass
        self._start = answers.csv_start if is_csv else answers.json_start
        self._device = answers.csv_device if is_csv else answers.json_device
        self._end = b"" if is_csv else b"]}"
        self._head = b""

    @classmethod
    async def of(cls, hass: HomeAssistant, asked: Request, form: str) -> _Answer:
        """Make the beginning; raise HomeAssistantError where there is no answer."""
        await async_import_module(hass, f"{__package__}.answers")
        answer = cls(hass, asked, is_csv=form == FORMAT_CSV)
        answer._head = await get_instance(hass).async_add_executor_job(
            answer._start, hass, asked
        )
        return answer

    async def send(self, response: web.StreamResponse) -> None:
        """Send the pieces."""
        await response.write(self._head)
        for number in range(len(self._asked.targets)):
            await response.write(
                await get_instance(self._hass).async_add_executor_job(
                    self._device, self._hass, self._asked, number
                )
            )
        await response.write_eof(self._end)
