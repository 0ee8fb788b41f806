"""The devices that scripts/develop sets up before the first start."""

from collections.abc import Mapping
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any
import uuid

from homeassistant.components import sensor
from homeassistant.components.sensor import SensorEntityDescription
from homeassistant.const import CONF_ADDRESS
from homeassistant.util import slugify

from custom_components.temperature_logger.const import KIND_BME280, KIND_HOST
from custom_components.temperature_logger.drivers.places import UsbPlace
from custom_components.temperature_logger.drivers.readings import QUANTITIES
from custom_components.temperature_logger.sensor import describe
from emulation.machine import place_of
from emulation.values import Value

from .errors import DevelopError

ROOT = Path(__file__).parent.parent
MACHINE = ROOT / "emulation/machines/develop.json"
"""The machine emulated where no real sensor is found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One entity and its past values."""

    entity_id: str
    device_class: str
    unit: str
    value: Value
    """The value of the machine spec, which gives the value at any time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EntrySpec:
    """One config entry."""

    title: str
    unique_id: str
    data: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    emulated: bool = False
    readings: Mapping[str, Series] = field(default_factory=dict)
    """The past readings to write, by quantity."""

    @property
    def entry_id(self) -> str:
        """Return an id that is the same for the same place."""
        return uuid.uuid5(uuid.NAMESPACE_URL, self.unique_id).hex


def find() -> list[EntrySpec]:
    """Return the sensors of this machine, or the emulated ones if it has none."""
    real = _scan(environment())
    if any(device["data"]["kind"] != KIND_HOST for device in real):
        return [EntrySpec(**device) for device in real]
    machine = json.loads(MACHINE.read_text(encoding="utf-8"))
    return [_emulated(device, machine) for device in _scan(environment(MACHINE))]


def environment(machine: Path | None = None) -> dict[str, str]:
    """Return the environment of a process on real or on emulated hardware."""
    variables = dict(os.environ)
    if machine is not None:
        variables["EMULATED_MACHINE"] = str(machine)
        variables["PYTHONPATH"] = f"{ROOT}/emulation/startup{os.pathsep}{ROOT}"
    return variables


def _scan(variables: dict[str, str]) -> list[dict[str, Any]]:
    """Let the integration search the hardware that a process sees."""
    process = subprocess.run(
        [sys.executable, "-m", "development.scan"],
        check=False,
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
    )
    if process.returncode:
        raise DevelopError("The search for sensors failed, as said above.")
    devices: list[dict[str, Any]] = json.loads(process.stdout)
    return devices


def _emulated(device: dict[str, Any], machine: dict[str, Any]) -> EntrySpec:
    """Return the entry of an emulated device, marked in its name, with its past."""
    what = "CPU emulated" if device["data"]["kind"] == KIND_HOST else "emulated"
    title = f"{device['title']} ({what})"
    values = _values(device, machine)
    readings = {
        description.key: Series(
            entity_id=f"sensor.{slugify(f'{title} {_name(description)}')}",
            device_class=str(description.device_class),
            unit=str(description.native_unit_of_measurement),
            value=value,
        )
        for description in map(describe, QUANTITIES)
        if description.key in device["data"]["quantities"]
        and (value := values.get(description.key.removeprefix("internal_"))) is not None
    }
    return EntrySpec(**(device | {"title": title}), emulated=True, readings=readings)


def _values(device: dict[str, Any], machine: dict[str, Any]) -> dict[str, Value]:
    """Return the part of a machine spec about a device."""
    if device["data"]["kind"] == KIND_HOST:
        # The disk is the real one, whose past is unknown.
        return {"cpu_temperature": machine["hwmon"][0]["sensors"][0]["temperature"]}
    if device["data"]["kind"] == KIND_BME280:
        chips = (chip for bus in machine["i2c"] for chip in bus["chips"])
        address = device["data"][CONF_ADDRESS]
        return next(chip for chip in chips if int(chip["address"], 0) == address)
    for stick in machine["usb"]:
        place = place_of(stick)
        if UsbPlace(place.controller, place.ports).id == device["unique_id"]:
            return dict(stick)
    raise LookupError(device["unique_id"])


def _name(description: SensorEntityDescription) -> str:
    """Return the English name that Home Assistant builds the entity's id from."""
    if key := description.translation_key:
        path = ROOT / "custom_components/temperature_logger/translations/en.json"
        names = json.loads(path.read_text(encoding="utf-8"))["entity"]["sensor"]
    else:
        key = str(description.device_class)
        path = Path(sensor.__path__[0], "translations/en.json")
        names = json.loads(path.read_text(encoding="utf-8"))["entity_component"]
    return str(names[key]["name"])
