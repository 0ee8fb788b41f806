"""Make and adjust the configuration folder of the development Home Assistant."""

from collections.abc import Iterable
import json
from pathlib import Path
import shutil
import time
from types import MappingProxyType
from typing import Any

from homeassistant import config_entries
from homeassistant.components.http import config as http
from homeassistant.components.onboarding import STORAGE_VERSION as ONBOARDING_VERSION
from homeassistant.components.onboarding.const import STEP_USER, STEPS
from homeassistant.components.recorder import DEFAULT_DB_FILE
from homeassistant.util import dt as dt_util

from custom_components.temperature_logger.const import CONF_INTERVAL, DOMAIN
from emulation.spec import SpecFile

from . import past
from .devices import MACHINE, ROOT, EntrySpec
from .errors import DevelopError

CONFIGURATION = """\
# Made by scripts/develop, which makes the folder anew where this file is missing.
homeassistant:
  name: Temperature Logger
  country: US
  unit_system: metric
automation: !include automations.yaml
history:
logbook:
my:
recorder:
  purge_keep_days: 15
system_health:
logger:
  default: warning
  logs:
    custom_components.temperature_logger: info
    # What pictures and voices would need is not installed, and not missed.
    haffmpeg: critical
    homeassistant.components.camera.img_util: critical
    # Every break of more than ten minutes between two starts would be a warning.
    homeassistant.components.recorder.util: error
"""


def is_prepared(folder: Path) -> bool:
    """Return whether the folder is complete."""
    return (folder / "configuration.yaml").exists()


def machine(folder: Path) -> Path | None:
    """Return the machine to emulate, unless the sensors are real."""
    path = folder / "machine.json"
    return path if path.exists() else None


def check_machine(path: Path) -> None:
    """Refuse an edited machine that cannot be emulated."""
    try:
        SpecFile(path)
    except ValueError as err:
        raise DevelopError(
            f"{path} cannot be emulated: {err}. "
            "Mend it, or delete the folder to start anew."
        ) from err


def prepare(folder: Path, entries: Iterable[EntrySpec]) -> None:
    """Create the folder's content; configuration.yaml, its mark, comes last."""
    _empty(folder)
    custom_components = folder / "custom_components"
    custom_components.mkdir()
    (custom_components / DOMAIN).symlink_to(ROOT / "custom_components" / DOMAIN)
    (folder / "automations.yaml").write_text("[]\n", encoding="utf-8")
    blueprints = folder / "blueprints" / "automation" / DOMAIN
    blueprints.mkdir(parents=True)
    for blueprint in (ROOT / "blueprints" / "automation" / DOMAIN).iterdir():
        (blueprints / blueprint.name).symlink_to(blueprint)
    # The steps after the owner would start integrations that want the internet.
    steps = [step for step in STEPS if step != STEP_USER]
    _store(folder, "onboarding", {"done": steps}, ONBOARDING_VERSION)
    _store_entries(folder, [_entry(spec).as_dict() for spec in entries])
    if any(spec.emulated for spec in entries):
        shutil.copyfile(MACHINE, folder / "machine.json")
        all_series = [s for spec in entries for s in spec.readings.values()]
        past.write(folder / DEFAULT_DB_FILE, all_series, time.time())
    (folder / "configuration.yaml").write_text(CONFIGURATION, encoding="utf-8")


def set_address(folder: Path, host: str, port: int) -> None:
    """Set the address on which Home Assistant listens.

    In configuration.yaml it would be on trial for five minutes.
    """
    stable = http.HTTP_STORAGE_SCHEMA({"server_host": [host], "server_port": port})
    meta = {"created_at": dt_util.utcnow().isoformat()}
    no_error = {"error": None, "error_message": None}
    _store(
        folder,
        http.STORAGE_KEY,
        {
            http.KEY_STABLE: stable | meta | no_error,
            http.KEY_PENDING: None,
            http.KEY_YAML_MIGRATION_DONE: True,
        },
        http.STORAGE_VERSION,
        http.STORAGE_MINOR_VERSION,
    )


def set_interval(folder: Path, seconds: int) -> None:
    """Set the interval at which the devices are read."""
    path = _storage(folder, config_entries.STORAGE_KEY)
    entries = json.loads(path.read_text(encoding="utf-8"))["data"]["entries"]
    for entry in entries:
        if entry["domain"] == DOMAIN:
            entry["options"][CONF_INTERVAL] = seconds
    _store_entries(folder, entries)


def _empty(folder: Path) -> None:
    """Remove the files of an earlier attempt."""
    for leftover in folder.iterdir():
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def _entry(spec: EntrySpec) -> config_entries.ConfigEntry:
    """Return the config entry of a device."""
    return config_entries.ConfigEntry(
        data=spec.data,
        discovery_keys=MappingProxyType({}),
        domain=DOMAIN,
        entry_id=spec.entry_id,
        minor_version=1,
        options=spec.options,
        source=config_entries.SOURCE_USER,
        subentries_data=(),
        title=spec.title,
        unique_id=spec.unique_id,
        version=1,
    )


def _store_entries(folder: Path, entries: list[dict[str, Any]]) -> None:
    """Write the config entries as Home Assistant stores them."""
    _store(
        folder,
        config_entries.STORAGE_KEY,
        {"entries": entries},
        config_entries.STORAGE_VERSION,
        config_entries.STORAGE_VERSION_MINOR,
    )


def _storage(folder: Path, key: str) -> Path:
    """Return the file of a key of Home Assistant's storage."""
    return folder / ".storage" / key


def _store(
    folder: Path, key: str, data: dict[str, Any], version: int, minor_version: int = 1
) -> None:
    """Write a file of Home Assistant's storage."""
    path = _storage(folder, key)
    path.parent.mkdir(exist_ok=True)
    content = {
        "version": version,
        "minor_version": minor_version,
        "key": key,
        "data": data,
    }
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")
    temporary.replace(path)
