"""The device of a config entry: its driver, calibration and faults."""

from typing import Final

from .calibration import calibrated
from .fault_durations import FaultDurations
from .faults import async_clear_fault, async_report_fault
from .jumps import JumpCheck
from .kinds import (
    async_import_drivers,
    async_make_driver,
    driver_name,
    model_name,
    place_data,
    place_name,
    place_of,
    workers,
)
from .value_faults import VALUE_FAULTS, async_clear_values, async_report_values

__all__ = [
    "VALUE_FAULTS",
    "FaultDurations",
    "JumpCheck",
    "async_clear_fault",
    "async_clear_values",
    "async_import_drivers",
    "async_make_driver",
    "async_report_fault",
    "async_report_values",
    "calibrated",
    "driver_name",
    "model_name",
    "place_data",
    "place_name",
    "place_of",
    "workers",
]

LATE: Final = {"options_flow": ("OptionsFlow",)}
"""The modules that others import on first use, when a form opens, with the names for
them."""
