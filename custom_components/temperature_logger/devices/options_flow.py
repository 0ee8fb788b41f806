"""The options of a device: its interval, its calibration and the disk guard."""

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
from ..drivers import probe_quantity, rom_of
from ..units import base_quantity

type Field = NumberSelector | SelectSelector

# A sensor that needs more than this is broken.
MIN_FACTOR: Final = 0.5
MAX_FACTOR: Final = 2.0
NEUTRAL: Final = {CONF_FACTOR: 1.0, CONF_OFFSET: 0.0}
# An adapter has any number of probes, and no translation can name them all: the user
# picks one and then calibrates it like a device with one temperature.
CONF_PROBE: Final = "probe"
PROBE_QUANTITIES: Final = ["temperature"]
GUARD_DEFAULTS: Final = {
    CONF_DISK_GUARD: DiskGuard.OFF,
    CONF_DISK_LIMIT: DEFAULT_DISK_LIMIT,
}
OPTION_RANGES: Final = {
    CONF_DISK_LIMIT: (MIN_DISK_LIMIT, MAX_DISK_LIMIT),
    CONF_INTERVAL: (MIN_INTERVAL, MAX_INTERVAL),
}
LIMIT_PLACEHOLDERS: Final = {
    "max_disk_limit": str(MAX_DISK_LIMIT),
    "max_factor": f"{MAX_FACTOR:g}",
    "max_interval": str(MAX_INTERVAL),
    "min_disk_limit": str(MIN_DISK_LIMIT),
    "min_factor": f"{MIN_FACTOR:g}",
    "min_interval": str(MIN_INTERVAL),
}


class OptionsFlow(OptionsFlowWithReload):
    """Changes the options of a device."""

    def __init__(self) -> None:
        """Start without changes."""
        self._options: dict[str, Any] = {}
        """The options from the first form, while the form of a probe is open."""
        self._probe = ""

    async def async_step_init(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show the options; after an error, with the values that the user entered."""
        stored: list[str] = self.config_entry.data[CONF_QUANTITIES]
        quantities = [quantity for quantity in stored if rom_of(quantity) is None]
        probes = [rom for quantity in stored if (rom := rom_of(quantity)) is not None]
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
        suggestions = user_input or _form_values(options, quantities)
        schema = _options_schema(quantities, probes)
        if self.config_entry.data[CONF_KIND] == KIND_HOST:
            schema = schema.extend(_guard_fields())
        return self._show("init", schema, suggestions, errors)

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
                for correction in _calibration(user_input, PROBE_QUANTITIES).values():
                    calibration[quantity] = correction
                return self.async_create_entry(data=self._options)
        current = {PROBE_QUANTITIES[0]: calibration.get(quantity, {})}
        suggestions = user_input or _calibration_values(current, PROBE_QUANTITIES)
        schema = vol.Schema(_calibration_fields(PROBE_QUANTITIES))
        return self._show("probe", schema, suggestions, errors)

    def _show(
        self,
        step_id: str,
        schema: vol.Schema,
        values: Mapping[str, Any],
        errors: dict[str, str],
    ) -> ConfigFlowResult:
        """Show a form that is filled with values."""
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(schema, values),
            errors=errors,
            description_placeholders=LIMIT_PLACEHOLDERS | {CONF_PROBE: self._probe},
        )


def _number_selector(unit: str | None = None, step: float = 0.01) -> NumberSelector:
    """Return a field for a number; the flow checks its range, for a better message."""
    config = NumberSelectorConfig(mode=NumberSelectorMode.BOX, step=step)
    if unit is not None:
        config["unit_of_measurement"] = unit
    return NumberSelector(config)


def _calibration_parts(quantities: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield name, quantity and part (offset or factor) of each calibration field."""
    for quantity in quantities:
        base = base_quantity(quantity)
        if base.max_offset is not None:
            yield f"{quantity}_{CONF_OFFSET}", quantity, CONF_OFFSET
        if base.has_factor:
            yield f"{quantity}_{CONF_FACTOR}", quantity, CONF_FACTOR


def _options_schema(quantities: list[str], probes: list[str]) -> vol.Schema:
    """Return the form of the options."""
    fields: dict[vol.Marker, Field] = {
        vol.Required(CONF_INTERVAL): _number_selector(UnitOfTime.SECONDS, 1),
        **_calibration_fields(quantities),
    }
    if probes:
        config = SelectSelectorConfig(options=probes)
        fields[vol.Optional(CONF_PROBE)] = SelectSelector(config)
    return vol.Schema(fields)


def _guard_fields() -> dict[vol.Marker, Field]:
    """Return the fields of the disk guard."""
    config = SelectSelectorConfig(
        options=list(DiskGuard), translation_key=CONF_DISK_GUARD
    )
    return {
        vol.Required(CONF_DISK_GUARD): SelectSelector(config),
        vol.Required(CONF_DISK_LIMIT): _number_selector("%", 1),
    }


def _calibration_fields(quantities: list[str]) -> dict[vol.Marker, Field]:
    """Return the fields of the calibration."""
    return {
        vol.Required(name): _number_selector(
            base_quantity(quantity).unit if part == CONF_OFFSET else None, 0.001
        )
        for name, quantity, part in _calibration_parts(quantities)
    }


def _form_values(options: Mapping[str, Any], quantities: list[str]) -> dict[str, Any]:
    """Return the values that fill the first form."""
    return {
        CONF_INTERVAL: options.get(CONF_INTERVAL, DEFAULT_INTERVAL),
        **{
            name: options.get(name, default) for name, default in GUARD_DEFAULTS.items()
        },
        **_calibration_values(options.get(CONF_CALIBRATION, {}), quantities),
    }


def _calibration_values(
    calibration: Mapping[str, Any], quantities: list[str]
) -> dict[str, float]:
    """Return the values that fill the fields of a calibration."""
    return {
        name: calibration.get(quantity, {}).get(part, NEUTRAL[part])
        for name, quantity, part in _calibration_parts(quantities)
    }


def _options(
    values: Mapping[str, Any], quantities: list[str], old: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options from the first form, with the stored ones of probes."""
    return {
        CONF_INTERVAL: int(values[CONF_INTERVAL]),
        CONF_CALIBRATION: {
            quantity: correction
            for quantity, correction in old.get(CONF_CALIBRATION, {}).items()
            if rom_of(quantity) is not None
        }
        | _calibration(values, quantities),
        **{name: values[name] for name in GUARD_DEFAULTS if name in values},
    }


def _calibration(
    values: Mapping[str, Any], quantities: list[str]
) -> dict[str, dict[str, float]]:
    """Return the calibration from a form, without corrections that change nothing."""
    calibration: dict[str, dict[str, float]] = {}
    for name, quantity, part in _calibration_parts(quantities):
        calibration.setdefault(quantity, {})[part] = values[name]
    return {
        quantity: correction
        for quantity, correction in calibration.items()
        if any(value != NEUTRAL[part] for part, value in correction.items())
    }


def _option_errors(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the error key of each value that is out of range, by field."""
    errors: dict[str, str] = {}
    for name in values.keys() - {CONF_DISK_GUARD}:
        part, lowest, highest = _range(name)
        if not lowest <= values[name] <= highest:  # NaN is never in a range.
            errors[name] = f"{part}_out_of_range"
    return errors


def _range(name: str) -> tuple[str, float, float]:
    """Return the part of a field's error key, and its lowest and highest value."""
    if name in OPTION_RANGES:
        return name, *OPTION_RANGES[name]
    quantity, _, part = name.rpartition("_")
    if part == CONF_FACTOR:
        return part, MIN_FACTOR, MAX_FACTOR
    base = base_quantity(quantity)
    max_offset = base.max_offset or 0.0
    return f"{base.name}_{part}", -max_offset, max_offset
