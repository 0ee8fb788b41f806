"""Print the spec of a machine with many sensors: python -m emulation.fleet N.

Each sensor has a controller or an adapter of its own with the sensor's number, so that
a template for config entries finds number {i}.
"""

import argparse
import json
import sys
from typing import Any


def stick(number: int) -> dict[str, Any]:
    """Return the entry of one stick."""
    return {
        "name": f"stick {number}",
        "model": "TEMPer2_V3.9",
        "controller": f"platform/emulated-hcd.{number}",
        "bus": number + 1,
        "ports": "1",
        "temperature": {"mean": 20 + number % 10, "daily": 2},
        "external_temperature": {"mean": 5 + number % 10, "daily": 4},
    }


def bus(number: int) -> dict[str, Any]:
    """Return the entry of one bus with a chip."""
    chip = {
        "name": f"chip {number}",
        "address": "0x76",
        "calibration": number % 3,
        "temperature": {"mean": 20 + number % 10, "daily": 2},
        "pressure": {"mean": 1000 + number % 30, "daily": 3},
        "humidity": {"mean": 40 + number % 20, "daily": 5},
    }
    return {
        "bus": number,
        "path": f"platform/emulated-i2c.{number}",
        "chips": [chip],
    }


def fleet(number: int, kind: str) -> dict[str, Any]:
    """Return the spec of a machine with this number of sensors."""
    if kind == "temper":
        return {"usb": [stick(n) for n in range(number)]}
    return {"i2c": [bus(n) for n in range(number)]}


def main() -> None:
    """Print the spec."""
    parser = argparse.ArgumentParser(prog="python -m emulation.fleet")
    parser.add_argument("number", type=int)
    parser.add_argument("--kind", choices=("temper", "bme280"), default="temper")
    arguments = parser.parse_args()
    json.dump(fleet(arguments.number, arguments.kind), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
