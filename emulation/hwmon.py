"""The temperatures that the kernel provides, as files below /sys/class."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
import time
from typing import Any

from .values import value_at


def attributes(
    chips: Iterable[Mapping[str, Any]], now: float
) -> Iterator[tuple[str, str]]:
    """Yield the path below /sys and the text of each attribute, at a Unix time."""
    for number, chip in enumerate(chips):
        folder, name, value_name = f"class/hwmon/hwmon{number}", "name", "temp{}_input"
        if chip.get("zone", False):
            folder = f"class/thermal/thermal_zone{number}"
            name, value_name = "type", "temp"
        yield f"{folder}/{name}", chip["driver"]
        for index, sensor in enumerate(chip["sensors"], 1):
            if "label" in sensor:
                yield f"{folder}/temp{index}_label", sensor["label"]
            if (value := value_at(sensor["temperature"], now)) is not None:
                text = str(round(float(value) * 1000))
                yield f"{folder}/{value_name.format(index)}", text


class Hwmon:
    """The attributes of a machine's own sensors."""

    def __init__(self, sys: Path) -> None:
        """Write nothing yet."""
        self._sys = sys
        self._texts: dict[str, str] = {}

    def show(self, chips: Iterable[Mapping[str, Any]]) -> None:
        """Write the present values of a machine spec's sensors, all at once."""
        texts = dict(attributes(chips, time.time()))
        for name in self._texts.keys() - texts.keys():
            (self._sys / name).unlink()
        for name, text in texts.items():
            if self._texts.get(name) != text:
                path = self._sys / name
                path.parent.mkdir(parents=True, exist_ok=True)
                new = path.with_name("new")
                new.write_text(f"{text}\n")
                new.replace(path)
        self._texts = texts
