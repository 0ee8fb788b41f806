"""The disk guard, the recorder and endpoints work together."""

from pathlib import Path
import time
from typing import Any

from homeassistant.config_entries import ConfigEntryDisabler
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.recorder import get_instance
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.disk_guard import guard
from custom_components.temperature_logger.disk_guard.decision import Outcome
from custom_components.temperature_logger.history.holds import (
    holds,
    thinnable_until,
)
from emulation.machine import Machine
from tests.conftest import GOLD_PLACE, SetUp
from tests.disk_guard.test_guard import count, fill, let
from tests.disk_guard.test_guard import issue_key as told_of_the_disk
from tests.history.conftest import GOLD, execute

from .common import arrived, deliver, endpoint, recorded
from .proxy import Failure, Proxy
from .receivers import Victoria

DAY = 86400

pytestmark = [
    pytest.mark.usefixtures("later"),
    pytest.mark.warns("Thinned readings to one in"),
    pytest.mark.warns("Error fetching The server data"),
]


@pytest.fixture
def recorder_db_url(hass_fixture_setup: list[bool], tmp_path: Path) -> str:
    """Return the URL of a database in a file, as the guard looks at its disk."""
    assert not hass_fixture_setup
    return f"sqlite:///{tmp_path}/home-assistant_v2.db"


@pytest.fixture(autouse=True)
async def history(
    recorder_mock: object,
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Record a stick for three days, a reading every 30 seconds."""
    hass.config.config_dir = str(tmp_path)
    monkeypatch.setattr(guard, "MEASURE_SECONDS", 0)
    await set_up(GOLD_PLACE)
    await async_wait_recording_done(hass)
    now = time.time()
    await fill(hass, GOLD, [now - 30 - 30 * n for n in range(3 * 2880)])


async def test_guard_waits_for_endpoints(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy, set_up: SetUp
) -> None:
    """Only readings that have arrived are thinned."""
    entry = await endpoint(hass, proxy.url, options={"batch_size": 1000})
    host: Any = await set_up("host")
    before = await count(hass, GOLD)
    everything = await recorded(hass)
    await let(hass, host, "thin", 0)
    assert told_of_the_disk(hass) == Outcome.TOO_FEW
    await proxy.fail(Failure.BROKEN)
    sender = await deliver(entry)
    assert await count(hass, GOLD) >= before
    await proxy.heal()
    await deliver(entry)
    assert sender.data.waiting == 0
    await let(hass, host, "thin", 0)
    assert told_of_the_disk(hass) == Outcome.THINNED
    assert await count(hass, GOLD) < before / 2
    series = next(iter(everything))
    assert set(everything[series]) <= set(arrived(victoria)[series])


async def test_half_has_arrived(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy, set_up: SetUp
) -> None:
    """If half of the readings have arrived, only those are thinned."""
    entry = await endpoint(hass, proxy.url, options={"batch_size": 1000})
    host: Any = await set_up("host")
    everything = await recorded(hass)
    (points,) = (everything[s] for s in everything if s[1] == "temperature")
    await proxy.fail(Failure.BROKEN, after=5)
    sender = await deliver(entry)
    assert sender.cursor.progress.delivered in range(4900, 5100)
    await let(hass, host, "thin", 0)
    held = thinnable_until(hass)
    assert held == pytest.approx(points[5000][0] / 1000, abs=60)
    left = (await recorded(hass))[next(iter(everything))]
    assert {p for p in points if p[0] / 1000 > held} <= set(left)
    assert len(left) < len(points)
    await proxy.heal()
    await deliver(entry)
    assert set(points) <= set(arrived(victoria)[next(iter(everything))])


async def test_endpoints_that_are_not_set_up_hold_back(
    hass: HomeAssistant, proxy: Proxy
) -> None:
    """A disabled endpoint protects its readings from thinning; a deleted one cannot."""
    entry = await endpoint(hass, proxy.url)
    assert thinnable_until(hass) == 0
    await hass.config_entries.async_set_disabled_by(
        entry.entry_id, ConfigEntryDisabler.USER
    )
    assert thinnable_until(hass) == 0
    await hass.config_entries.async_remove(entry.entry_id)
    assert thinnable_until(hass) == pytest.approx(time.time() - DAY, abs=60)
    assert not holds(hass)


async def test_before_it_is_deleted(
    hass: HomeAssistant, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An issue warns of the deletion of unsent readings until they arrive."""
    get_instance(hass).keep_days = 5
    entry = await endpoint(hass, proxy.url)
    issues = ir.async_get(hass)
    issue_id = f"readings_expire_{entry.entry_id}"
    await proxy.fail(Failure.BROKEN)
    await deliver(entry)
    issue = issues.async_get_issue(DOMAIN, issue_id)
    assert issue
    assert issue.translation_placeholders
    quoted = issue.translation_placeholders
    assert quoted["oldest"] < quoted["deleted"]
    get_instance(hass).keep_days = 14
    await deliver(entry)
    assert issues.async_get_issue(DOMAIN, issue_id) is None
    get_instance(hass).keep_days = 5
    await deliver(entry)
    assert issues.async_get_issue(DOMAIN, issue_id)
    await proxy.heal()
    await deliver(entry)
    assert issues.async_get_issue(DOMAIN, issue_id) is None


async def test_deleted_before_it_arrived(hass: HomeAssistant, proxy: Proxy) -> None:
    """An issue names the period whose readings were deleted unsent."""
    entry = await endpoint(hass, proxy.url)
    await proxy.fail(Failure.BROKEN)
    await deliver(entry)
    issues = ir.async_get(hass)
    issue_id = f"readings_expired_{entry.entry_id}"
    assert issues.async_get_issue(DOMAIN, issue_id) is None
    await execute(
        hass,
        """DELETE FROM states WHERE last_updated_ts <
        (SELECT max(last_updated_ts) - 86400 FROM states)""",
    )
    await deliver(entry)
    issue = issues.async_get_issue(DOMAIN, issue_id)
    assert issue
    assert issue.translation_placeholders
    assert (
        issue.translation_placeholders["since"]
        < (issue.translation_placeholders["until"])
    )
    await hass.config_entries.async_remove(entry.entry_id)
    assert issues.async_get_issue(DOMAIN, issue_id) is None
