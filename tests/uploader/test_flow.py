"""The forms of an endpoint, against servers that answer like real ones."""

from collections.abc import AsyncGenerator
from http import HTTPStatus
import json
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from homeassistant.components.recorder.core import Recorder
from homeassistant.config_entries import (
    SOURCE_REAUTH,
    SOURCE_RECONFIGURE,
    SOURCE_USER,
    ConfigFlowContext,
)
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.recorder import DATA_INSTANCE
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)
from sqlalchemy import column, table

from custom_components import temperature_logger
from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.history.tables import NEEDED
from custom_components.temperature_logger.uploader import endpoints
from custom_components.temperature_logger.uploader.cursor import cursors
from custom_components.temperature_logger.uploader.endpoints import EndpointProtocol
from emulation.machine import Machine
from tests.conftest import BME_PLACE, GOLD_PLACE, TWO_PLACE, SetUp, pass_time
from tests.drivers.conftest import Build
from tests.history.conftest import execute

from .proxy import ACCOUNT, Account, Failure, Proxy, threaded
from .receivers import DATABASE, READER, WRITER, Influx, Victoria

COMPONENT = Path(temperature_logger.__file__).parent
ADVANCED = {"gzip": True, "verify_ssl": True}
LOGIN: dict[str, Any] = {
    "org": ACCOUNT.org,
    "bucket": ACCOUNT.bucket,
    "token": ACCOUNT.token,
}
RETRY_DELAY_S = 400
"""Seconds until an endpoint has tried again, whatever the pause after a failure."""
LABELS = ("device", "site", "__name__")
SHIFT_AN_HOUR_BACK = "UPDATE states SET last_updated_ts = last_updated_ts - 3600"


class JsonServer:
    """A JSON server with a token."""

    def __init__(self) -> None:
        """Accept all readings, but no empty list."""
        self.bodies: list[Any] = []
        self.nothing = HTTPStatus.UNPROCESSABLE_ENTITY
        self.answer: dict[str, str] = {}
        app = web.Application()
        app.router.add_post("/readings", self._take)
        app.router.add_post("/readings/bulk", self._take)
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        """The address of the server."""
        return str(self.server.make_url(""))

    async def _take(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer secret":
            return web.json_response({"detail": "Who?"}, status=401)
        self.bodies.append(await request.json())
        empty = not self.bodies[-1]["readings"]
        return web.json_response(self.answer, status=self.nothing if empty else 200)


@pytest.fixture(autouse=True)
def custom_integrations(
    recorder_mock: Recorder, enable_custom_integrations: None
) -> None:
    """Run the recorder, and let Home Assistant find the integration."""


@pytest.fixture(name="json_server")
async def json_server_fixture(socket_enabled: None) -> AsyncGenerator[JsonServer]:
    """Run a JSON server."""
    server = JsonServer()
    async with server.server:
        yield server


async def begin(
    hass: HomeAssistant, protocol: EndpointProtocol = EndpointProtocol.INFLUXDB_2
) -> dict[str, Any]:
    """Open the form for a server with a protocol."""
    flows = hass.config_entries.flow
    form: Any = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
    menu: Any = await flows.async_configure(form["flow_id"], {"device": "endpoint"})
    assert menu["type"] is FlowResultType.MENU
    assert menu["menu_options"] == ["influxdb_2", "influxdb_1", "json"]
    form = await flows.async_configure(menu["flow_id"], {"next_step_id": protocol})
    assert form["step_id"] == protocol
    return dict(form)


async def submit(
    hass: HomeAssistant,
    form: dict[str, Any],
    advanced: dict[str, Any] | None = None,
    **typed: Any,  # noqa: ANN401 - a value of a form
) -> dict[str, Any]:
    """Submit the form of a server."""
    return await configure(hass, form, **typed, advanced=ADVANCED | (advanced or {}))


async def configure(
    hass: HomeAssistant, form: dict[str, Any], **typed: object
) -> dict[str, Any]:
    """Submit a form; wait for background work."""
    result: Any = await hass.config_entries.flow.async_configure(form["flow_id"], typed)
    await hass.async_block_till_done(wait_background_tasks=True)
    return dict(result)


async def add(hass: HomeAssistant, proxy: Proxy, **typed: object) -> MockConfigEntry:
    """Add an endpoint."""
    form = await submit(hass, await begin(hass), **{"url": proxy.url, **LOGIN, **typed})
    assert form["type"] is FlowResultType.CREATE_ENTRY, form
    entry: MockConfigEntry = form["result"]
    return entry


async def reconfigure(hass: HomeAssistant, entry: MockConfigEntry) -> dict[str, Any]:
    """Open the form that changes an entry."""
    context = ConfigFlowContext(source=SOURCE_RECONFIGURE, entry_id=entry.entry_id)
    form: Any = await hass.config_entries.flow.async_init(DOMAIN, context=context)
    return dict(form)


async def made_earlier(hass: HomeAssistant) -> None:
    """Make all recorded rows an hour older, so that each reading is complete."""
    await async_wait_recording_done(hass)
    await execute(hass, SHIFT_AN_HOUR_BACK)


def suggested(form: dict[str, Any]) -> dict[str, Any]:
    """Return the values that fill a form."""

    def filled(schema: Any) -> dict[str, Any]:  # noqa: ANN401 - a form
        values: dict[str, Any] = {}
        for key, field in schema.schema.items():
            if key == "advanced":
                values[key] = filled(field.schema)
            elif key.description is not None:
                values[str(key)] = key.description["suggested_value"]
        return values

    return filled(form["data_schema"])


def problem(form: dict[str, Any]) -> str:
    """Return the error of a form as the frontend shows it in English."""
    (key,) = form["errors"].values()
    texts = json.loads((COMPONENT / "translations/en.json").read_text())
    text: str = texts["config"]["error"][key]
    return text.format(**form["description_placeholders"])


async def test_influxdb_2(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    proxy: Proxy,
    victoria: Victoria,
) -> None:
    """The newest reading arrives before the entry is saved, all others after it."""
    await set_up(GOLD_PLACE)
    await made_earlier(hass)
    typed: dict[str, Any] = {"url": f"{proxy.url}/api/v2/write", "site": "cellar"}
    form = await submit(hass, await begin(hass), **typed, **LOGIN | {"token": "wrong"})
    assert "does not let this login write (401: " in problem(form)
    filled_in = typed | LOGIN | {"token": "wrong", "past": True, "advanced": ADVANCED}
    assert suggested(form) == filled_in
    form = await submit(hass, form, **typed, **LOGIN | {"bucket": "wrong"})
    assert 'bucket \\"wrong\\" not found' in problem(form)
    assert not victoria.readings(*LABELS)
    form = await submit(hass, form, **typed, **LOGIN)
    assert form["type"] is FlowResultType.CREATE_ENTRY
    assert form["title"] == "127.0.0.1 readings"
    assert form["data"] == {
        "kind": "endpoint",
        "protocol": "influxdb_2",
        "url": proxy.url,
        **LOGIN,
        "site": "cellar",
        "headers": {},
        "past": True,
        **ADVANCED,
    }
    assert form["options"] == {"devices": [], "labels": []}
    key = "TEMPerGold", "cellar", "temperature_logger_temperature"
    held = victoria.readings(*LABELS)
    assert {name: [value for _, value in points] for name, points in held.items()} == {
        key: [19.87]
    }


async def test_influxdb_1(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, influx: Influx
) -> None:
    """User name, password and database are tested with the server."""
    await set_up(BME_PLACE)
    await made_earlier(hass)

    async def tried(
        form: dict[str, Any], login: tuple[str, str], database: str = DATABASE
    ) -> dict[str, Any]:
        username, password = login
        typed: dict[str, Any] = {
            "database": database,
            "username": username,
            "password": password,
        }
        return await submit(hass, form, url=f"{influx.url}/write", **typed)

    form = await begin(hass, EndpointProtocol.INFLUXDB_1)
    form = await tried(form, (WRITER[0], "wrong"))
    assert "does not let this login write (401: " in problem(form)
    form = await tried(form, READER)
    assert "does not let this login write (403: " in problem(form)
    form = await tried(form, WRITER, "other")
    assert problem(form)
    assert not influx.points("temperature_logger")
    form = await tried(form, WRITER)
    assert form["title"] == f"127.0.0.1 {DATABASE}"
    (point,) = influx.points("temperature_logger")
    assert (point["device"], point["humidity"]) == ("BME280", 45.0)


@pytest.mark.parametrize("nothing", [200, 204, 400, 422])
async def test_json(
    hass: HomeAssistant, machine: Machine, json_server: JsonServer, nothing: int
) -> None:
    """An empty list tests address and login, even if the server rejects the list."""
    json_server.nothing = HTTPStatus(nothing)
    form = await begin(hass, EndpointProtocol.JSON)
    form = await submit(hass, form, url=json_server.url, token="wrong")
    assert "does not let this login write (401: " in problem(form)
    form = await submit(hass, form, url=json_server.url, token="secret")
    assert form["type"] is FlowResultType.CREATE_ENTRY
    assert form["title"] == "127.0.0.1"
    assert json_server.bodies == [{"readings": []}]


async def test_json_with_an_error_in_the_body(
    hass: HomeAssistant, machine: Machine, json_server: JsonServer
) -> None:
    """An error in the body fails the test, even if the status is good."""
    json_server.nothing = HTTPStatus.OK
    json_server.answer = {"error": "read only"}
    form = await begin(hass, EndpointProtocol.JSON)
    form = await submit(hass, form, url=json_server.url, token="secret")
    assert "read only" in problem(form)


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (Failure.REFUSED, "cannot be reached ("),
        (Failure.SILENT, "did not answer in time."),
        (Failure.CLOSED, "cannot be reached ("),
        (Failure.CUT_AFTER, "cannot be reached ("),
        (Failure.ERROR_WITHIN, "did not say that the readings are written (200: "),
        (Failure.INVALID, "refused the readings (400: "),
        (Failure.FORBIDDEN, "does not let this login write (403: "),
        (Failure.NOT_FOUND, "there is nothing that takes these readings (404: "),
        (Failure.TOO_LARGE, "takes only smaller requests (413: "),
        (Failure.TOO_MANY, "wants to be asked later (429: "),
        (Failure.BROKEN, "failed (500: "),
        (Failure.UNAVAILABLE, "wants to be asked later (503: "),
        (Failure.REDIRECTED, "says that it is elsewhere (http://127.0.0.1:"),
    ],
)
async def test_failures(
    hass: HomeAssistant,
    machine: Machine,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    failure: Failure,
    text: str,
) -> None:
    """The form shows each failure with details; after a repair it can be submitted."""
    form = await begin(hass)
    await proxy.fail(failure)
    with monkeypatch.context() as patch:
        patch.setattr(endpoints, "POST_TIMEOUT", aiohttp.ClientTimeout(total=0.5))
        form = await submit(hass, form, url=proxy.url, **LOGIN)
    assert text in problem(form)
    assert proxy.url in problem(form)
    await proxy.heal()
    form = await submit(hass, form, url=proxy.url, **LOGIN)
    assert form["type"] is FlowResultType.CREATE_ENTRY
    # Without a reading, a comment is sent, which writes nothing.
    assert proxy.requests[-1].body == "#"


async def test_mistakes(hass: HomeAssistant, machine: Machine, proxy: Proxy) -> None:
    """Mistakes are found before anything is sent, and all values stay in the form."""
    typed = {"url": "influx", **LOGIN, "advanced": {"headers": "Host: x"}}
    form = await submit(hass, await begin(hass), **typed)
    assert form["errors"] == {"url": "url_invalid", "base": "header_reserved"}
    assert form["description_placeholders"]["header"] == "Host"
    kept = suggested(form)
    assert kept["advanced"] == ADVANCED | {"headers": "Host: x"}
    assert kept["token"] == ACCOUNT.token
    assert not proxy.requests
    typed = {"url": proxy.url, **LOGIN, "advanced": {"headers": "X-Key: x"}}
    form = await submit(hass, form, **typed)
    assert form["data"]["headers"] == {"X-Key": "x"}
    assert proxy.requests[-1].headers["X-Key"] == "x"


async def test_unverified(
    hass: HomeAssistant, machine: Machine, victoria: Victoria
) -> None:
    """A certificate that cannot be verified is accepted only after a warning."""
    typed: dict[str, Any] = {**LOGIN, "advanced": {"verify_ssl": False}}
    with threaded(Proxy(victoria.url, ACCOUNT, tls=True)) as proxy:
        form = await submit(hass, await begin(hass), url=proxy.url, **LOGIN)
        assert "certificate of https://127.0.0.1" in problem(form)
        form = await submit(hass, form, url=proxy.url, **typed)
        assert form["step_id"] == "insecure"
        assert form["description_placeholders"] == {"url": proxy.url}
        assert not proxy.requests
        proxy.account = Account("other", ACCOUNT.org, ACCOUNT.bucket)
        form = await configure(hass, form)
        assert "(401: " in problem(form)
        proxy.account = ACCOUNT
        form = await submit(hass, form, url=proxy.url, **typed)
        assert form["type"] is FlowResultType.CREATE_ENTRY
        # The check was off before, so there is no second warning.
        form = await reconfigure(hass, form["result"])
        form = await submit(hass, form, url=proxy.url, **typed)
        assert form["reason"] == "reconfigure_successful"


@pytest.mark.warns("Error fetching 127.0.0.1 readings data")
async def test_without_a_recorder(
    hass: HomeAssistant,
    machine: Machine,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An endpoint can be set up without a recorder."""
    form = await begin(hass)
    with monkeypatch.context() as patch:
        patch.delitem(hass.data, DATA_INSTANCE)
        form = await submit(hass, form, url=proxy.url, **LOGIN)
    assert form["type"] is FlowResultType.CREATE_ENTRY
    assert [request.body for request in proxy.requests] == ["#"]
    assert form["result"].runtime_data.is_connected is None


async def test_with_a_recorder_that_fails(
    hass: HomeAssistant,
    machine: Machine,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error of the database is shown as such, not as one of the server."""
    gone = table("states", column("gone")).columns.gone
    form = await begin(hass)
    with monkeypatch.context() as patch:
        patch.setitem(NEEDED, "send", (gone,))
        form = await submit(hass, form, url=proxy.url, **LOGIN)
    assert "(states.gone is missing)" in problem(form)
    form = await submit(hass, form, url=proxy.url, **LOGIN)
    assert form["type"] is FlowResultType.CREATE_ENTRY


async def test_destination_that_is_taken(
    hass: HomeAssistant, machine: Machine, proxy: Proxy
) -> None:
    """A destination can get the readings of a site only once."""
    await add(hass, proxy)
    form = await submit(hass, await begin(hass), url=f"{proxy.url}/", **LOGIN)
    assert form["errors"] == {"base": "sent_already"}
    assert form["description_placeholders"]["endpoint"] == "127.0.0.1 readings"
    form = await submit(hass, form, url=proxy.url, **LOGIN, site="cellar")
    assert form["title"] == "127.0.0.1 readings 2"


async def test_reconfigure(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, proxy: Proxy
) -> None:
    """The form has all values but secrets; the progress stays."""
    await set_up(GOLD_PLACE)
    await made_earlier(hass)
    entry = await add(hass, proxy, site="cellar", past=True)
    assert entry.runtime_data.data.delivered == 1
    form = await reconfigure(hass, entry)
    filled_in = suggested(form)
    assert filled_in["url"] == proxy.url
    assert "token" not in filled_in
    assert "past" not in form["data_schema"].schema
    proxy.account = Account("new", "home", "other")
    typed = {**LOGIN, "bucket": "other", "token": ""}
    form = await submit(hass, form, url=proxy.url, **typed)
    assert "(401: " in problem(form)
    form = await submit(hass, form, url=proxy.url, **typed | {"token": "new"})
    assert form["reason"] == "reconfigure_successful"
    assert entry.title == "127.0.0.1 other"
    assert entry.data["token"] == "new"
    assert "site" in entry.data
    assert entry.unique_id is not None
    assert "bucket=other" in entry.unique_id
    assert entry.runtime_data.data.delivered == 1
    hass.config_entries.async_update_entry(entry, title="Mine")
    proxy.account = Account("new", "home", "third")
    typed |= {"bucket": "third"}
    await submit(hass, await reconfigure(hass, entry), url=proxy.url, **typed)
    assert entry.title == "Mine"
    assert entry.data["token"] == "new"


async def test_reconfigure_to_another_one(
    hass: HomeAssistant, machine: Machine, proxy: Proxy
) -> None:
    """An endpoint cannot get the destination of another one."""
    await add(hass, proxy)
    entry = await add(hass, proxy, site="cellar")
    form = await reconfigure(hass, entry)
    form = await submit(hass, form, url=proxy.url, **LOGIN)
    assert form["errors"] == {"base": "sent_already"}
    form = await submit(hass, form, url=proxy.url, **LOGIN, site="cellar")
    assert form["reason"] == "reconfigure_successful"


def reauth(hass: HomeAssistant) -> list[Any]:
    """Return the open forms for another login."""
    return hass.config_entries.flow.async_progress_by_handler(
        DOMAIN, match_context={"source": SOURCE_REAUTH}
    )


@pytest.mark.warns("Error fetching 127.0.0.1 readings data")
async def test_another_login(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    proxy: Proxy,
    issue_registry: ir.IssueRegistry,
) -> None:
    """A form asks for another token; with the new one, waiting readings are sent."""
    await set_up(GOLD_PLACE)
    entry = await add(hass, proxy)
    await made_earlier(hass)
    proxy.account = Account("new", ACCOUNT.org, ACCOUNT.bucket)
    await pass_time(hass, RETRY_DELAY_S)
    (flow,) = reauth(hass)
    form: Any = await hass.config_entries.flow.async_configure(flow["flow_id"])
    assert form["step_id"] == "reauth_confirm"
    assert form["description_placeholders"]["endpoint"] == entry.title
    assert list(map(str, form["data_schema"].schema)) == ["token"]
    form = await configure(hass, form, token="wrong")
    assert "(401: " in problem(form)
    form = await configure(hass, form, token="a\x00")
    assert form["errors"] == {"token": "not_printable"}
    form = await configure(hass, form, token="new")
    assert form["reason"] == "reauth_successful"
    assert entry.data["token"] == "new"
    assert entry.data["bucket"] == ACCOUNT.bucket
    assert entry.runtime_data.data.delivered > 0
    assert entry.runtime_data.is_connected
    assert not [issue for issue in issue_registry.issues if "reauth" in issue[1]]


@pytest.mark.warns("Error fetching 127.0.0.1 readings data")
async def test_no_other_login_needed(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, proxy: Proxy
) -> None:
    """The form closes if the server accepts readings again."""
    await set_up(GOLD_PLACE)
    entry = await add(hass, proxy)
    await made_earlier(hass)
    await proxy.fail(Failure.UNAUTHORIZED)
    await pass_time(hass, RETRY_DELAY_S)
    assert reauth(hass)
    assert entry.runtime_data.is_connected is False
    await proxy.heal()
    await pass_time(hass, 2 * RETRY_DELAY_S)
    assert entry.runtime_data.is_connected
    assert not reauth(hass)


async def test_without_the_past(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, proxy: Proxy
) -> None:
    """Only new readings are sent, also after a restart."""
    await set_up(GOLD_PLACE)
    await made_earlier(hass)
    entry = await add(hass, proxy, past=False)
    assert entry.runtime_data.data.waiting == 0
    assert entry.runtime_data.data.delivered == 0
    await pass_time(hass, 305)
    await made_earlier(hass)
    cursors(hass).clear()
    await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert entry.runtime_data.data.delivered == 1


async def test_only_some_devices(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    proxy: Proxy,
    victoria: Victoria,
    device_registry: dr.DeviceRegistry,
) -> None:
    """Only readings of selected devices are sent, also the one that tests a server."""
    places = {place: await set_up(place) for place in (TWO_PLACE, GOLD_PLACE)}
    await made_earlier(hass)
    (two, gold) = (
        dr.async_entries_for_config_entry(device_registry, entry.entry_id)[0]
        for entry in places.values()
    )
    entry = await add(hass, proxy, devices=[two.id])
    assert {labels[0] for labels in victoria.readings("device")} == {"TEMPer2"}
    form: Any = await hass.config_entries.options.async_init(entry.entry_id)
    assert form["step_id"] == "endpoint"
    assert suggested(form) == {"devices": [two.id], "labels": [], "batch_size": 360}
    typed: dict[str, Any] = {"devices": [gold.id], "batch_size": 5001}
    form = await hass.config_entries.options.async_configure(form["flow_id"], typed)
    assert form["errors"] == {"batch_size": "batch_size_out_of_range"}
    assert suggested(form) == typed
    typed["batch_size"] = 5000
    form = await hass.config_entries.options.async_configure(form["flow_id"], typed)
    assert form["type"] is FlowResultType.CREATE_ENTRY
    assert entry.options == {"devices": [gold.id], "labels": [], "batch_size": 5000}
    await hass.async_block_till_done(wait_background_tasks=True)


async def test_nothing_else_to_pick(hass: HomeAssistant, build: Build) -> None:
    """An endpoint can be chosen on a machine without thermometers."""
    build()
    form: Any = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )
    assert form["step_id"] == "nothing_found"
    form = await configure(hass, form, device="endpoint")
    assert form["type"] is FlowResultType.MENU


async def test_not_offered_for_a_moved_device(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """An endpoint cannot be chosen as the new place of a device."""
    entry = await set_up(GOLD_PLACE)
    form = await reconfigure(hass, entry)
    assert form["type"] is FlowResultType.FORM
    options = form["data_schema"].schema["device"].config["options"]
    assert "endpoint" not in [option["value"] for option in options]
