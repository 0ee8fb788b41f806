"""The bulk road: any number of readings over HTTP."""

from http import HTTPStatus

from aiohttp import web
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.http import KEY_HASS, HomeAssistantView
from homeassistant.helpers.importlib import async_import_module
import voluptuous as vol

from .const import DOMAIN, READINGS_URL


class ReadingsView(HomeAssistantView):
    """All readings of some targets in a span of time."""

    name = f"api:{DOMAIN}:readings"
    url = READINGS_URL

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer with JSON columns or CSV, and with 400 to what cannot be had."""
        # Imported with the first question, as what the actions do.
        await async_import_module(request.app[KEY_HASS], f"{__package__}.http_answers")
        from .http_answers import async_answer

        try:
            answer = await async_answer(request)
        except (HomeAssistantError, vol.Invalid) as err:
            return self.json_message(str(err), HTTPStatus.BAD_REQUEST)
        response = web.StreamResponse(headers=answer.headers)
        await response.prepare(request)
        await response.write(answer.first)
        async for piece in answer.rest:
            await response.write(piece)
        await response.write_eof()
        return response
