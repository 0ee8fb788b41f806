"""The emulated device for each "usb" entry of a machine spec."""

from collections.abc import Mapping
from typing import Any

from .control import ControlStick
from .serial import SerialStick
from .sticks import Stick
from .streams import Streamer

KINDS = (Streamer, SerialStick, ControlStick)


def hardware(spec: Mapping[str, Any]) -> Stick:
    """Build the USB device of one entry."""
    kind = next((kind for kind in KINDS if spec["model"] in kind.MODELS), Stick)
    return kind(spec)
