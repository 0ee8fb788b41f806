"""A real Home Assistant process on emulated hardware, used from outside."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
import json
from pathlib import Path
import socket
import sys
from typing import Any

from aiohttp import ClientSession
from homeassistant.util import dt as dt_util
import pytest

from custom_components.temperature_logger.const import DOMAIN
from development import client, configuration, devices

from .drivers.waiting import first

MACHINE = {
    "usb": [
        {
            "name": "two",
            "model": "TEMPer2_V3.9",
            "ports": "1.4",
            "temperature": 22.34,
            "external_temperature": -7.06,
        },
        {"name": "pedal", "model": "pedal 413d", "ports": "2"},
    ],
    "i2c": [
        {
            "bus": 1,
            "of_node": "soc/i2c@7e804000",
            "chips": [
                {
                    "name": "bme",
                    "address": "0x76",
                    "temperature": 21.5,
                    "pressure": 1013.25,
                    "humidity": 45.0,
                }
            ],
        }
    ],
    "hwmon": [{"driver": "cpu_thermal", "sensors": [{"temperature": 48.312}]}],
}
EXPECTED_VALUES = {
    "sensor.bme280_atmospheric_pressure": 1013.25,
    "sensor.bme280_humidity": 45.0,
    "sensor.bme280_temperature": 21.5,
    "sensor.temper2_external_temperature": -7.06,
    "sensor.temper2_internal_temperature": 22.34,
    "sensor.this_machine_cpu_temperature": 48.312,
}
FLOW = "/api/config/config_entries/flow"


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@asynccontextmanager
async def running(
    folder: Path,
) -> AsyncGenerator[tuple[str, asyncio.subprocess.Process]]:
    """Run Home Assistant on the machine until the end of the block."""
    machine = folder / "machine.json"
    machine.write_text(json.dumps(MACHINE))
    configuration.prepare(folder / "config", [])
    port = free_port()
    configuration.set_address(folder / "config", "127.0.0.1", port)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "development.hass"),
        *("--config", str(folder / "config"), "--skip-pip"),
        cwd=devices.ROOT,
        env=devices.environment(machine),
    )
    url = f"http://127.0.0.1:{port}"

    async def is_answering() -> bool:
        assert process.returncode is None, "Home Assistant ended"
        return await client.is_answering(url)

    await first(is_answering, bool)
    try:
        yield url, process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def ask(session: ClientSession, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
    """Send a GET, or a POST if there is a body; return the API's answer."""
    method = "GET" if body is None else "POST"
    async with session.request(method, path, json=body) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def add_everything(session: ClientSession) -> None:
    """Add each device in the form, this machine last, until none is left."""
    while (form := await ask(session, FLOW, {"handler": DOMAIN}))["step_id"] == "user":
        picked = form["data_schema"][0]["selector"]["select"]["options"][0]["value"]
        added = await ask(session, f"{FLOW}/{form['flow_id']}", {"device": picked})
        assert added["type"] == "create_entry"
    assert "does not answer" in form["description_placeholders"]["hints"]
    added = await ask(session, f"{FLOW}/{form['flow_id']}", {"device": "host"})
    assert added["type"] == "create_entry"
    form = await ask(session, FLOW, {"handler": DOMAIN})
    options = form["data_schema"][0]["selector"]["select"]["options"]
    assert [option["value"] for option in options] == ["endpoint"]


def our(states: list[dict[str, Any]]) -> dict[str, float]:
    """Return the values of the expected entities."""
    return {
        state["entity_id"]: float(state["state"])
        for state in states
        if state["entity_id"] in EXPECTED_VALUES
    }


@pytest.mark.usefixtures("socket_enabled")
async def test_from_the_form_to_the_history(tmp_path: Path) -> None:
    """Each device added with the form has its values in states and history."""
    (tmp_path / "config").mkdir()
    began = dt_util.utcnow().isoformat()
    async with running(tmp_path) as (url, process):
        token = await client.log_in(url)
        headers = {"Authorization": f"Bearer {token}"}
        async with ClientSession(url, headers=headers) as session:
            await add_everything(session)
            close = pytest.approx(EXPECTED_VALUES, abs=0.01)
            assert our(await ask(session, "/api/states")) == close
            path = (
                f"/api/history/period/{began}?filter_entity_id={','.join(EXPECTED_VALUES)}"
                "&significant_changes_only=0&skip_initial_state"
            )
            # The recorder commits every five seconds.
            rows = await first(
                lambda: ask(session, path),
                lambda rows: len(rows) >= len(EXPECTED_VALUES),
            )
            assert our([row[-1] for row in rows]) == close
        async with client.WebSocket.connect(url, token) as web_socket:
            history = await web_socket.ask(
                "history/history_during_period",
                start_time=began,
                entity_ids=list(EXPECTED_VALUES),
                include_start_time_state=False,
                significant_changes_only=False,
            )
        values = {entity: float(rows[-1]["s"]) for entity, rows in history.items()}
        assert values == close
        process.terminate()
        assert await process.wait() == 0
    log = (tmp_path / "config/home-assistant.log").read_text()
    assert "ERROR" not in log
    assert DOMAIN not in log
