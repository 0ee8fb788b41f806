"""The machine spec in a file, and its errors."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
import json
from pathlib import Path
from typing import Any

from .adapters import Adapter
from .bme680 import chip_of
from .hardware import hardware
from .hwmon import attributes
from .i2c import Bus
from .machine import Spec, place_of
from .sticks import QUANTITIES
from .values import value_at


class SpecFile:
    """A machine spec that may be changed while it is used."""

    def __init__(self, path: Path) -> None:
        """Read the spec; raise ValueError if it cannot be emulated."""
        self._path = path
        self._changed = 0
        self.problem = ""
        """The error that keeps the present content of the file from being applied."""
        self.spec: dict[str, Any] = {}
        if not self.reread():
            raise ValueError(self.problem)

    def reread(self) -> bool:
        """Read the spec again if it has changed; return whether it was applied."""
        try:
            changed = self._path.stat().st_mtime_ns
            if changed == self._changed:
                return False
            text = self._path.read_text()
        except OSError as err:  # It may just be replaced.
            self.problem = str(err)
            return False
        self._changed = changed
        try:
            spec = json.loads(text)
            check(spec)
        except ValueError as err:
            self.problem = str(err)
            return False
        self.problem = ""
        self.spec = spec
        return True


def check(spec: Spec) -> None:
    """Raise ValueError with a message for a machine that cannot be emulated."""
    with _in_words("the machine"):
        sticks, buses = spec.get("usb", []), spec.get("i2c", [])
        names = [entry["name"] for entry in sticks]
        places = [place_of(entry) for entry in sticks if entry.get("plugged", True)]
        if len(set(names)) < len(names) or len(set(places)) < len(places):
            raise ValueError("two USB devices have the same name or port")
    for entry in sticks:
        with _in_words(entry["name"]):
            hardware(entry)
            _check_values(entry)
            if not isinstance(place_of(entry).ports, str):
                raise TypeError("ports is a text, such as 1.4")
    with _in_words("hwmon"):
        dict(attributes(spec.get("hwmon", []), 0))
    for bus in buses:
        with _in_words("an I2C bus"):
            Adapter.from_spec(bus)
            Bus({**bus, "chips": []})
        for entry in bus.get("chips", []):
            with _in_words(entry.get("name", "a chip")):
                chip_of(entry)
                _check_values(entry)


def _check_values(entry: Mapping[str, Any]) -> None:
    """Raise ValueError for a value that is neither a number nor one at each time."""
    values = [entry.get(quantity) for quantity in (*QUANTITIES, "pressure")]
    for value in (*values, *entry.get("probes", {}).values()):
        if (number := value_at(value, 0)) is not None:
            float(number)


@contextmanager
def _in_words(name: str) -> Generator[None]:
    """Turn an error in a part of a spec into a ValueError that names the part."""
    try:
        yield
    except LookupError as err:
        raise ValueError(f"{name}: {err} is missing or not known") from err
    except (AttributeError, TypeError, ValueError) as err:
        raise ValueError(f"{name}: {err}") from err
