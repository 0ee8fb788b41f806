"""The owner's account, a token in a file, and a dashboard."""

import asyncio
from pathlib import Path

from custom_components.temperature_logger.const import DOMAIN

from . import dashboard
from .client import WebSocket, log_in

TOKEN_DAYS = 3650


async def provide(folder: Path, url: str) -> None:
    """Create the missing parts, once Home Assistant has started everything."""
    token = folder / "token.txt"
    stored_token = token.read_text(encoding="utf-8").strip() if token.exists() else None
    async with WebSocket.connect(url, stored_token or await log_in(url)) as socket:
        while (await socket.ask("get_config"))["state"] != "RUNNING":
            await asyncio.sleep(0.2)
        # Links should lead to the address on which it listens.
        await socket.ask("config/core/update", internal_url=url)
        await _show_dashboard(socket)
        if not stored_token:
            await _write_token(token, socket)


async def _write_token(path: Path, socket: WebSocket) -> None:
    """Write a new token into a file that only the owner can read."""
    token = await socket.ask(
        "auth/long_lived_access_token",
        client_name=f"scripts/develop, {path}",
        lifespan=TOKEN_DAYS,
    )
    temporary = path.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(f"{token}\n", encoding="utf-8")
    temporary.replace(path)


async def _show_dashboard(socket: WebSocket) -> None:
    """Make the dashboard of the sensors, unless a default one is chosen."""
    core = await socket.ask("frontend/get_system_data", key="core")
    chosen = (core["value"] or {}).get("default_panel")
    values = await _values(socket)
    if chosen or not values:
        return
    dashboards = await socket.ask("lovelace/dashboards/list")
    if all(item["url_path"] != dashboard.URL_PATH for item in dashboards):
        await socket.ask(
            "lovelace/dashboards/create",
            icon="mdi:thermometer",
            title=dashboard.TITLE,
            url_path=dashboard.URL_PATH,
        )
    await socket.ask(
        "lovelace/config/save",
        url_path=dashboard.URL_PATH,
        config=dashboard.config(values),
    )
    await socket.ask(
        "frontend/set_system_data",
        key="core",
        value={"default_panel": dashboard.URL_PATH},
    )


async def _values(socket: WebSocket) -> list[dashboard.Value]:
    """Return the sensors that measure something, in the order of registration."""
    devices = {
        device["id"]: device["name_by_user"] or device["name"]
        for device in await socket.ask("config/device_registry/list")
    }
    classes = {
        state["entity_id"]: state["attributes"].get("device_class")
        for state in await socket.ask("get_states")
    }
    return [
        dashboard.Value(
            entity_id=entity["entity_id"],
            name=entity["name"] or entity["original_name"],
            device=devices[entity["device_id"]],
            device_class=device_class,
        )
        for entity in await socket.ask("config/entity_registry/list")
        if entity["platform"] == DOMAIN
        and (device_class := classes.get(entity["entity_id"]))
    ]
