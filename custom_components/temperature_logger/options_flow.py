"""Change how a device is read: its interval and its calibration."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from homeassistant.config_entries import ConfigFlowResult, OptionsFlowWithReload
from homeassistant.const import UnitOfTime
from homeassistant.helpers.selector import (
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
)
import voluptuous as vol

from .const import (
    CONF_CALIBRATION,
    CONF_FACTOR,
    CONF_INTERVAL,
    CONF_OFFSET,
    CONF_QUANTITIES,
    DEFAULT_INTERVAL,
    MAX_INTERVAL,
    MIN_INTERVAL,
)
from .units import UNITS, base

# What an owner may correct: beyond it the sensor is broken, not off.
FACTORS: Final = (0.5, 2.0)
OFFSETS: Final = {"humidity": 50.0, "pressure": 200.0, "temperature": 50.0}
NEUTRAL: Final = {CONF_FACTOR: 1.0, CONF_OFFSET: 0.0}


class OptionsFlow(OptionsFlowWithReload):
    """Changes the interval and the calibration."""

    async def async_step_init(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show the options; keep what was typed after an error."""
        quantities = self.config_entry.data[CONF_QUANTITIES]
        errors: dict[str, str] = {}
        if user_input is not None:
            errors = _option_errors(user_input)
            if not errors:
                return self.async_create_entry(data=_options(user_input, quantities))
        shown = user_input or _form_values(self.config_entry.options, quantities)
        return self.async_show_form(
            step_id="init",
            data_schema=self.add_suggested_values_to_schema(
                _options_schema(quantities), shown
            ),
            errors=errors,
            description_placeholders={
                "max_factor": f"{FACTORS[1]:g}",
                "max_interval": str(MAX_INTERVAL),
                "min_factor": f"{FACTORS[0]:g}",
                "min_interval": str(MIN_INTERVAL),
            },
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
        yield f"{quantity}_{CONF_OFFSET}", quantity, CONF_OFFSET
        if base(quantity) == "temperature":
            yield f"{quantity}_{CONF_FACTOR}", quantity, CONF_FACTOR


def _options_schema(quantities: list[str]) -> vol.Schema:
    """Return the form of the options."""
    fields: dict[vol.Marker, NumberSelector] = {
        vol.Required(CONF_INTERVAL): _number(UnitOfTime.SECONDS, 1)
    }
    for name, quantity, part in _fields(quantities):
        unit = UNITS[base(quantity)] if part == CONF_OFFSET else None
        fields[vol.Required(name)] = _number(unit, 0.001)
    return vol.Schema(fields)


def _form_values(options: Mapping[str, Any], quantities: list[str]) -> dict[str, Any]:
    """Return the options as the form shows them."""
    calibration = options.get(CONF_CALIBRATION, {})
    values = {CONF_INTERVAL: options.get(CONF_INTERVAL, DEFAULT_INTERVAL)}
    for name, quantity, part in _fields(quantities):
        values[name] = calibration.get(quantity, {}).get(part, NEUTRAL[part])
    return values


def _options(values: Mapping[str, Any], quantities: list[str]) -> dict[str, Any]:
    """Return what the form says, without the corrections that change nothing."""
    calibration: dict[str, dict[str, float]] = {}
    for name, quantity, part in _fields(quantities):
        calibration.setdefault(quantity, {})[part] = values[name]
    return {
        CONF_INTERVAL: int(values[CONF_INTERVAL]),
        CONF_CALIBRATION: {
            quantity: correction
            for quantity, correction in calibration.items()
            if any(value != NEUTRAL[part] for part, value in correction.items())
        },
    }


def _option_errors(values: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with the values, by field."""
    errors: dict[str, str] = {}
    for name, value in values.items():
        quantity, _, part = name.rpartition("_")
        if name == CONF_INTERVAL:
            if not MIN_INTERVAL <= value <= MAX_INTERVAL:
                errors[name] = "interval_out_of_range"
        elif part == CONF_FACTOR:
            if not FACTORS[0] <= value <= FACTORS[1]:
                errors[name] = "factor_out_of_range"
        elif not abs(value) <= OFFSETS[base(quantity)]:  # Not a number is not, too.
            errors[name] = f"{base(quantity)}_offset_out_of_range"
    return errors
