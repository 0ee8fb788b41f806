"""The parts of the forms of devices: messages, and lists to pick from."""

from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from homeassistant.core import HomeAssistant
from homeassistant.helpers.selector import (
    BooleanSelector,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)
import voluptuous as vol

from ..const import KIND_BME280, KIND_USB
from ..drivers import HOST, Fault, I2cPlace, Label, addresses_label
from ..drivers.finder import CHIP_ADDRESSES, Problem, SearchResult
from ..translation import async_label

type DeviceFields = dict[vol.Marker, SelectSelector | BooleanSelector]


class Hint(StrEnum):
    """A hint for the user that is not a fault; its value is the key of its text."""

    ALL_SET_UP = "all_set_up"
    BUS_SET_UP = "bus_set_up"
    MOVED_NOWHERE = "moved_nowhere"
    NO_BUS = "no_bus"
    NO_STICK = "no_stick"
    NOT_MOVED = "not_moved"
    OTHER_MODEL = "other_model"
    PICK_BUS = "pick_bus"


class Message(NamedTuple):
    """A text of a form: its key and its placeholders."""

    key: Fault | Hint
    placeholders: Mapping[str, str] = MappingProxyType({})


def reasons(
    hass: HomeAssistant, kinds: Collection[str], result: SearchResult
) -> Iterator[Message]:
    """Yield the hints why devices are missing, so that there is always a next step."""
    yield from (problem_message(hass, problem) for problem in result.problems)
    if result.adapters:
        yield Message(Hint.PICK_BUS)
    if result.problems or any(c.place != HOST for c in result.candidates):
        return
    if result.occupied_places:
        yield Message(Hint.ALL_SET_UP)
        return
    if KIND_USB in kinds and not result.connected_places:
        yield Message(Hint.NO_STICK)
    if KIND_BME280 in kinds:
        if not result.has_bus:
            yield Message(Hint.NO_BUS)
        for place in result.empty_places:
            placeholders = {"place": async_label(hass, place.label)}
            yield Message(Fault.CHIP_NOT_FOUND, placeholders)


def bus_message(hass: HomeAssistant, result: SearchResult, bus: str) -> Message | None:
    """Return why a picked bus adds no chip to the list; None if it adds a chip."""
    ids = {I2cPlace(bus, address).id for address in CHIP_ADDRESSES}
    if any(candidate.place.id in ids for candidate in result.candidates):
        return None
    for problem in result.problems:
        if problem.bus == bus:
            return problem_message(hass, problem)
    if ids & result.occupied_places:
        placeholders = {"place": async_label(hass, Label("i2c_bus", {"bus": bus}))}
        return Message(Hint.BUS_SET_UP, placeholders)
    is_empty = any(place.adapter == bus for place in result.empty_places)
    fault = Fault.CHIP_NOT_FOUND if is_empty else Fault.BUS_NOT_FOUND
    return fault_message(hass, fault, {}, addresses_label(bus, *CHIP_ADDRESSES))


def problem_message(hass: HomeAssistant, problem: Problem) -> Message:
    """Return the message for a problem at a place."""
    return fault_message(hass, problem.fault, problem.details, problem.label)


def fault_message(
    hass: HomeAssistant, fault: Fault, details: Mapping[str, str], label: Label
) -> Message:
    """Return the message for a fault at a place."""
    return Message(fault, {**details, "place": async_label(hass, label)})


def list_field(
    name: str, options: list[SelectOptionDict], suggested: str | None
) -> DeviceFields:
    """Return the field of a list that shows all its options.

    The field is optional: in a required one the frontend preselects the first option.
    """
    config = SelectSelectorConfig(options=options, mode=SelectSelectorMode.LIST)
    field = vol.Optional(name, description={"suggested_value": suggested})
    return {field: SelectSelector(config)}
