"""Change how a device is read: its interval and its calibration."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from homeassistant.config_entries import ConfigFlowResult, OptionsFlowWithReload
from homeassistant.const import UnitOfTime
from homeassistant.helpers.selector import (
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectSelector,
    SelectSelectorConfig,
)
import voluptuous as vol

from ..const import (
    CONF_CALIBRATION,
    CONF_DISK_GUARD,
    CONF_DISK_LIMIT,
    CONF_FACTOR,
    CONF_INTERVAL,
    CONF_KIND,
    CONF_OFFSET,
    CONF_QUANTITIES,
    DEFAULT_DISK_LIMIT,
    DEFAULT_INTERVAL,
    KIND_HOST,
    MAX_DISK_LIMIT,
    MAX_INTERVAL,
    MIN_DISK_LIMIT,
    MIN_INTERVAL,
    DiskGuard,
)
from ..drivers import probe_quantity, rom_of, without_probes
from ..units import UNITS, base

type Field = NumberSelector | SelectSelector

# What an owner may correct: beyond it the sensor is broken, not off.
FACTORS: Final = (0.5, 2.0)
OFFSETS: Final = {
    "co2": 1000.0,
    "humidity": 50.0,
    "pressure": 200.0,
    "temperature": 50.0,
}
NEUTRAL: Final = {CONF_FACTOR: 1.0, CONF_OFFSET: 0.0}
# An adapter has any number of probes, called by codes that no translation knows: one
# is picked and then calibrated like a device with one temperature.
CONF_PROBE: Final = "probe"
PROBE_QUANTITIES: Final = ["temperature"]
GUARD: Final = {CONF_DISK_GUARD: DiskGuard.OFF, CONF_DISK_LIMIT: DEFAULT_DISK_LIMIT}
LIMITS: Final = {
    "max_disk_limit": str(MAX_DISK_LIMIT),
    "max_factor": f"{FACTORS[1]:g}",
    "max_interval": str(MAX_INTERVAL),
    "min_disk_limit": str(MIN_DISK_LIMIT),
    "min_factor": f"{FACTORS[0]:g}",
    "min_interval": str(MIN_INTERVAL),
}


class OptionsFlow(OptionsFlowWithReload):
    """Changes the interval and the calibration."""

    def __init__(self) -> None:
        """Begin with nothing changed."""
        self._options: dict[str, Any] = {}
        """What the first form said, while the one of a probe is shown."""
        self._probe = ""

    async def async_step_init(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show the options; keep what was typed after an error."""
        known: list[str] = self.config_entry.data[CONF_QUANTITIES]
        quantities = without_probes(known)
        probes = [rom for quantity in known if (rom := rom_of(quantity)) is not None]
        options = self.config_entry.options
        errors: dict[str, str] = {}
        if user_input is not None:
            values = dict(user_input)
            self._probe = values.pop(CONF_PROBE, "")
            errors = _option_errors(values)
            if not errors:
                self._options = _options(values, quantities, options)
                if self._probe:
                    return await self.async_step_probe()
                return self.async_create_entry(data=self._options)
        shown = user_input or _form_values(options, quantities)
        schema = _options_schema(quantities, probes)
        if self.config_entry.data[CONF_KIND] == KIND_HOST:
            schema = schema.extend(_guard_fields())
        return self._show("init", schema, shown, errors)

    async def async_step_probe(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Calibrate one probe of an adapter."""
        errors: dict[str, str] = {}
        quantity = probe_quantity(self._probe)
        calibration = self._options[CONF_CALIBRATION]
        if user_input is not None:
            errors = _option_errors(user_input)
            if not errors:
                calibration.pop(quantity, None)
                for found in _calibration(user_input, PROBE_QUANTITIES).values():
                    calibration[quantity] = found
                return self.async_create_entry(data=self._options)
        own = {PROBE_QUANTITIES[0]: calibration.get(quantity, {})}
        shown = user_input or _calibration_values(own, PROBE_QUANTITIES)
        schema = vol.Schema(_calibration_fields(PROBE_QUANTITIES))
        return self._show("probe", schema, shown, errors)

    def _show(
        self,
        step_id: str,
        schema: vol.Schema,
        values: Mapping[str, Any],
        errors: dict[str, str],
    ) -> ConfigFlowResult:
        """Show a form with values in it."""
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(schema, values),
            errors=errors,
            description_placeholders=LIMITS | {CONF_PROBE: self._probe},
        )


def _number(unit: str | None = None, step: float = 0.01) -> NumberSelector:
    """Return a field for a number; its limits are checked, and named, in the flow."""
    config = NumberSelectorConfig(mode=NumberSelectorMode.BOX, step=step)
    if unit is not None:
        config["unit_of_measurement"] = unit
    return NumberSelector(config)


def _fields(quantities: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield name, quantity and part of each field of the calibration."""
    for quantity in quantities:
        if base(quantity) not in OFFSETS:
            continue  # What is counted, and not measured, is not off.
        yield f"{quantity}_{CONF_OFFSET}", quantity, CONF_OFFSET
        if base(quantity) == "temperature":
            yield f"{quantity}_{CONF_FACTOR}", quantity, CONF_FACTOR


def _options_schema(quantities: list[str], probes: list[str]) -> vol.Schema:
    """Return the form of the options."""
    fields: dict[vol.Marker, Field] = {
        vol.Required(CONF_INTERVAL): _number(UnitOfTime.SECONDS, 1),
        **_calibration_fields(quantities),
    }
    if probes:
        config = SelectSelectorConfig(options=probes)
        fields[vol.Optional(CONF_PROBE)] = SelectSelector(config)
    return vol.Schema(fields)


def _guard_fields() -> dict[vol.Marker, Field]:
    """Return the fields of the guard of the disk."""
    config = SelectSelectorConfig(
        options=list(DiskGuard), translation_key=CONF_DISK_GUARD
    )
    return {
        vol.Required(CONF_DISK_GUARD): SelectSelector(config),
        vol.Required(CONF_DISK_LIMIT): _number("%", 1),
    }


def _calibration_fields(quantities: list[str]) -> dict[vol.Marker, Field]:
    """Return the fields of the calibration."""
    return {
        vol.Required(name): _number(
            UNITS[base(quantity)] if part == CONF_OFFSET else None, 0.001
        )
        for name, quantity, part in _fields(quantities)
    }


def _form_values(options: Mapping[str, Any], quantities: list[str]) -> dict[str, Any]:
    """Return the options as the form shows them."""
    return {
        CONF_INTERVAL: options.get(CONF_INTERVAL, DEFAULT_INTERVAL),
        **{name: options.get(name, default) for name, default in GUARD.items()},
        **_calibration_values(options.get(CONF_CALIBRATION, {}), quantities),
    }


def _calibration_values(
    calibration: Mapping[str, Any], quantities: list[str]
) -> dict[str, float]:
    """Return a calibration as a form shows it."""
    return {
        name: calibration.get(quantity, {}).get(part, NEUTRAL[part])
        for name, quantity, part in _fields(quantities)
    }


def _options(
    values: Mapping[str, Any], quantities: list[str], old: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the first form says; the probes' calibrations stay as they are."""
    return {
        CONF_INTERVAL: int(values[CONF_INTERVAL]),
        CONF_CALIBRATION: {
            quantity: correction
            for quantity, correction in old.get(CONF_CALIBRATION, {}).items()
            if rom_of(quantity) is not None
        }
        | _calibration(values, quantities),
        **{name: values[name] for name in GUARD if name in values},
    }


def _calibration(
    values: Mapping[str, Any], quantities: list[str]
) -> dict[str, dict[str, float]]:
    """Return what a form says, without the corrections that change nothing."""
    calibration: dict[str, dict[str, float]] = {}
    for name, quantity, part in _fields(quantities):
        calibration.setdefault(quantity, {})[part] = values[name]
    return {
        quantity: correction
        for quantity, correction in calibration.items()
        if any(value != NEUTRAL[part] for part, value in correction.items())
    }


def _option_errors(values: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with the values, by field."""
    errors: dict[str, str] = {}
    for name, value in values.items():
        quantity, _, part = name.rpartition("_")
        if name == CONF_INTERVAL:
            if not MIN_INTERVAL <= value <= MAX_INTERVAL:
                errors[name] = "interval_out_of_range"
        elif name == CONF_DISK_LIMIT:
            if not MIN_DISK_LIMIT <= value <= MAX_DISK_LIMIT:
                errors[name] = "disk_limit_out_of_range"
        elif name == CONF_DISK_GUARD:
            continue
        elif part == CONF_FACTOR:
            if not FACTORS[0] <= value <= FACTORS[1]:
                errors[name] = "factor_out_of_range"
        elif not abs(value) <= OFFSETS[base(quantity)]:  # Not a number is not, too.
            errors[name] = f"{base(quantity)}_offset_out_of_range"
    return errors
