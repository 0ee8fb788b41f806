"""The blueprints send each message once, in a real automation."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
import shutil
from typing import NamedTuple
from urllib.parse import quote

from freezegun.api import FrozenDateTimeFactory
from homeassistant.components.automation import EVENT_AUTOMATION_RELOADED
from homeassistant.core import HomeAssistant, ServiceCall
from homeassistant.exceptions import HomeAssistantError
from homeassistant.setup import async_setup_component
from homeassistant.util.yaml import load_yaml_dict
import pytest
from pytest_homeassistant_custom_component.common import (
    async_fire_time_changed,
    async_mock_service,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

ROOT = Path(__file__).parent.parent
REPOSITORY = "https://github.com/temperature-logger/ha-temperature-logger"
FOLDER = ROOT / "blueprints/automation/temperature_logger"
CELLAR = "sensor.cellar_temperature"

type Settings = dict[str, float | str]
"""The inputs of a blueprint."""


class Values(NamedTuple):
    """Values on both sides of a threshold of 25 °C."""

    direction: str
    quiet: str
    """Within the threshold."""
    beyond: str
    """Beyond the threshold."""
    around: str
    """Within it again, but not far enough to be over."""
    over: str
    """Far enough within it to be over."""


BOTH_DIRECTIONS = pytest.mark.parametrize(
    "values",
    [
        Values("above", "24.9", "25.1", "24.8", "24.5"),
        Values("below", "25.1", "24.9", "25.2", "25.5"),
    ],
    ids=lambda values: values.direction,
)


@pytest.fixture(name="notifications")
async def notifications_fixture(
    hass: HomeAssistant, tmp_path: Path
) -> AsyncGenerator[list[ServiceCall]]:
    """Start Home Assistant with the blueprints; return the messages to a phone."""
    hass.config.config_dir = str(tmp_path)
    shutil.copytree(FOLDER, tmp_path / "blueprints/automation/temperature_logger")
    (tmp_path / "configuration.yaml").write_text(
        "automation: !include automations.yaml"
    )
    (tmp_path / "automations.yaml").write_text("[]")
    show(hass, "20.0")
    for domain in ("homeassistant", "automation", "config"):
        assert await async_setup_component(hass, domain, {domain: {}})
    yield async_mock_service(hass, "notify", "phone")
    await hass.services.async_call("automation", "turn_off", {"entity_id": "all"})


def show(hass: HomeAssistant, value: str) -> None:
    """Let the sensor show a value."""
    attributes = {"unit_of_measurement": "°C", "friendly_name": "Cellar"}
    hass.states.async_set(CELLAR, value, attributes, force_update=True)


async def settle() -> None:
    """Wait until only automations that wait for something are left."""
    for _ in range(30):
        await asyncio.sleep(0)


async def automate(
    hass: HomeAssistant,
    client: ClientSessionGenerator,
    blueprint: str,
    **inputs: float | str,
) -> None:
    """Make an automation of a blueprint, as the form in the browser does."""
    notify = {
        "action": "notify.phone",
        "data": {"title": "{{ title }}", "message": "{{ message }}"},
    }
    response = await (await client()).post(
        "/api/config/automation/config/cellar",
        json={
            "alias": "Cellar",
            "use_blueprint": {
                "path": f"temperature_logger/{blueprint}.yaml",
                "input": {"sensor": CELLAR, "notify": [notify], **inputs},
            },
        },
    )
    assert response.status == 200, await response.text()
    while hass.states.get("automation.cellar") is None:
        await settle()


async def wait(
    hass: HomeAssistant, freezer: FrozenDateTimeFactory, minutes: float
) -> None:
    """Let time pass, a minute at a time."""
    for _ in range(round(minutes)):
        freezer.tick(timedelta(minutes=1))
        async_fire_time_changed(hass)
        await settle()


def messages(notifications: list[ServiceCall]) -> list[str]:
    """Return the messages that were sent."""
    assert all(call.data["title"] == "Cellar" for call in notifications)
    return [call.data["message"] for call in notifications]


@BOTH_DIRECTIONS
async def test_threshold(
    hass: HomeAssistant,
    notifications: list[ServiceCall],
    hass_client: ClientSessionGenerator,
    freezer: FrozenDateTimeFactory,
    values: Values,
) -> None:
    """A threshold sends one message when it is passed, and one when that is over."""
    direction, quiet, beyond, _, over = values
    show(hass, quiet)
    settings: Settings = {"direction": direction, "threshold": 25, "minutes": 10}
    await automate(hass, hass_client, "threshold_alert", **settings)
    for value in (quiet, beyond, quiet, "unavailable", beyond):
        show(hass, value)
        await wait(hass, freezer, 9)
    assert not notifications
    await wait(hass, freezer, 2)
    assert messages(notifications) == [
        f"{direction.capitalize()} 25 °C for 10 minutes: {beyond} °C now."
    ]
    show(hass, over)
    await settle()
    assert messages(notifications)[1:] == [
        f"No longer {direction} 25 °C: {over} °C now."
    ]
    await wait(hass, freezer, 30)
    assert len(notifications) == 2
    show(hass, beyond)
    await wait(hass, freezer, 11)
    assert len(notifications) == 3


@BOTH_DIRECTIONS
async def test_values_around_the_threshold(
    hass: HomeAssistant,
    notifications: list[ServiceCall],
    hass_client: ClientSessionGenerator,
    freezer: FrozenDateTimeFactory,
    values: Values,
) -> None:
    """After a message, only a value well within the threshold sends another one.

    A value around it, a gap and a reload of another automation send nothing.
    """
    direction, quiet, beyond, around, over = values
    show(hass, quiet)
    settings: Settings = {"direction": direction, "threshold": 25, "minutes": 10}
    await automate(hass, hass_client, "threshold_alert", **settings)
    show(hass, beyond)
    await wait(hass, freezer, 11)
    assert len(notifications) == 1
    for value in (around, beyond, "unavailable", "unknown", beyond):
        show(hass, value)
        hass.bus.async_fire(EVENT_AUTOMATION_RELOADED)
        await wait(hass, freezer, 20)
    assert len(notifications) == 1
    show(hass, over)
    await settle()
    assert messages(notifications)[1:] == [
        f"No longer {direction} 25 °C: {over} °C now."
    ]
    await wait(hass, freezer, 30)
    assert len(notifications) == 2


@pytest.mark.parametrize("lasts", [True, False])
async def test_threshold_already_passed(
    hass: HomeAssistant,
    notifications: list[ServiceCall],
    hass_client: ClientSessionGenerator,
    freezer: FrozenDateTimeFactory,
    *,
    lasts: bool,
) -> None:
    """A threshold already passed at the start gives a message once it has lasted."""
    show(hass, "30.0")
    await automate(hass, hass_client, "threshold_alert", threshold=25, minutes=10)
    show(hass, "30.0")
    await wait(hass, freezer, 5)
    show(hass, "30.0" if lasts else "24.9")
    await wait(hass, freezer, 6)
    assert len(notifications) == lasts


async def test_threshold_with_failing_readings(
    hass: HomeAssistant,
    notifications: list[ServiceCall],
    hass_client: ClientSessionGenerator,
    freezer: FrozenDateTimeFactory,
) -> None:
    """A reading that fails now and then does not restart the waiting time."""
    await automate(hass, hass_client, "threshold_alert", threshold=25, minutes=10)
    for value in ("30.0", "unavailable", "30.0", "unknown", "30.0"):
        show(hass, value)
        await wait(hass, freezer, 3)
    assert len(notifications) == 1


async def test_threshold_while_switched_off(
    hass: HomeAssistant,
    notifications: list[ServiceCall],
    hass_client: ClientSessionGenerator,
    freezer: FrozenDateTimeFactory,
) -> None:
    """A threshold passed while switched off gives a message with the next reading."""
    await automate(hass, hass_client, "threshold_alert", threshold=25, minutes=0)
    cellar = {"entity_id": "automation.cellar"}
    await hass.services.async_call("automation", "turn_off", cellar, blocking=True)
    show(hass, "30.0")
    await wait(hass, freezer, 5)
    await hass.services.async_call("automation", "turn_on", cellar, blocking=True)
    assert not notifications
    show(hass, "30.0")
    await wait(hass, freezer, 1)
    assert len(notifications) == 1


@pytest.mark.parametrize("blueprint", ["threshold_alert", "no_reading"])
@pytest.mark.parametrize("is_gone", [False, True])
async def test_phone_that_fails(
    hass: HomeAssistant,
    notifications: list[ServiceCall],
    hass_client: ClientSessionGenerator,
    freezer: FrozenDateTimeFactory,
    *,
    blueprint: str,
    is_gone: bool,
) -> None:
    """A first message that fails is not repeated, and the second one is sent."""
    failing = async_mock_service(
        hass, "notify", "phone", raise_exception=HomeAssistantError("no network")
    )
    settings = {"threshold": 25} if blueprint == "threshold_alert" else {}
    await automate(hass, hass_client, blueprint, minutes=1, **settings)
    if is_gone:
        hass.services.async_remove("notify", "phone")
    show(hass, "30.0")
    await wait(hass, freezer, 5)
    assert len(failing) == (not is_gone)
    notifications = async_mock_service(hass, "notify", "phone")
    if blueprint == "threshold_alert":
        show(hass, "31.0")
        await wait(hass, freezer, 5)
        assert not notifications
    show(hass, "20.0")
    await settle()
    assert len(notifications) == 1


async def test_sensor_already_silent(
    hass: HomeAssistant,
    notifications: list[ServiceCall],
    hass_client: ClientSessionGenerator,
    freezer: FrozenDateTimeFactory,
) -> None:
    """A sensor already silent when the automation is made gives a message as well."""
    show(hass, "unavailable")
    await wait(hass, freezer, 30)
    await automate(hass, hass_client, "no_reading", minutes=20)
    await wait(hass, freezer, 2)
    assert len(notifications) == 1


async def test_no_reading(
    hass: HomeAssistant,
    notifications: list[ServiceCall],
    hass_client: ClientSessionGenerator,
    freezer: FrozenDateTimeFactory,
) -> None:
    """An unchanged value is a reading; silence and a gap are not."""
    await automate(hass, hass_client, "no_reading", minutes=20)
    show(hass, "20.0")
    shown = hass.states.get(CELLAR)
    assert shown is not None
    for _ in range(10):
        hass.states.async_set(CELLAR, shown.state, shown.attributes)
        await wait(hass, freezer, 5)
    assert not notifications
    await wait(hass, freezer, 17)
    assert messages(notifications) == ["No reading for 20 min."]
    await wait(hass, freezer, 60)
    assert len(notifications) == 1
    show(hass, "21.0")
    await settle()
    assert messages(notifications)[1:] == ["There are readings again: 21.0 °C now."]
    # An unplugged probe reports at each poll that it has no value.
    for _ in range(6):
        hass.states.async_set(CELLAR, "unknown", {"friendly_name": "Cellar"})
        await wait(hass, freezer, 5)
    assert len(notifications) == 3


@pytest.mark.parametrize("path", FOLDER.glob("*.yaml"), ids=lambda path: path.stem)
def test_where_it_is_from(path: Path) -> None:
    """A blueprint names its source, and the README has a link to import it."""
    source = f"{REPOSITORY}/blob/main/{path.relative_to(ROOT)}"
    assert load_yaml_dict(str(path))["blueprint"]["source_url"] == source
    link = f"redirect/blueprint_import/?blueprint_url={quote(source, safe='')}"
    assert link in (ROOT / "README.md").read_text()
