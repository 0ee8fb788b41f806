"""A search for devices that can be set up, and the data of their config entries."""

from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from homeassistant.core import HomeAssistant

from ..const import (
    CONF_DRIVER,
    CONF_FIRMWARE,
    CONF_SHAPE,
    KIND_BME280,
    KIND_HOST,
    KIND_USB,
)
from ..devices import async_import_drivers, model_name, place_data, workers
from ..drivers import HOST, Candidate, Fault, Finder, Found, Label, Problem
from ..shared import async_shared
from ..translation import async_label, async_text

THIS_MACHINE: Final = Candidate(driver="host", place=HOST)


class Hint(StrEnum):
    """A next step that is not the remedy of a fault: the key of its text."""

    ALL_SET_UP = "all_set_up"
    MOVED_NOWHERE = "moved_nowhere"
    NO_BUS = "no_bus"
    NO_STICK = "no_stick"
    NOT_MOVED = "not_moved"
    OTHER_MODEL = "other_model"
    PICK_BUS = "pick_bus"


class Message(NamedTuple):
    """A text of a form: its key, and what it quotes."""

    key: Fault | Hint
    quoted: Mapping[str, str] = MappingProxyType({})


async def async_search(
    hass: HomeAssistant,
    kinds: Collection[str],
    owned: Collection[str] = (),
    chosen: Collection[str] = (),
) -> Found:
    """Look for devices of some kinds at all places but those owned.

    Buses whose keys are chosen are probed even if no sensor is expected there.
    """
    if KIND_USB in kinds:
        await async_import_drivers(hass, ["temper"])
    found = await finder(hass).search(
        usb=KIND_USB in kinds, i2c=KIND_BME280 in kinds, owned=owned, chosen=chosen
    )
    if KIND_HOST in kinds and KIND_HOST not in owned:
        found.candidates.append(THIS_MACHINE)
    return found


def finder(hass: HomeAssistant) -> Finder:
    """Return what finds the devices."""
    return async_shared(hass, _make_finder)


def _make_finder(hass: HomeAssistant) -> Finder:
    """Make the finder, which shares the workers with the drivers."""
    return Finder(workers(hass))


def reasons(
    hass: HomeAssistant, kinds: Collection[str], found: Found
) -> Iterator[Message]:
    """Yield why devices cannot be picked, so that there is always a next step."""
    yield from (problem_message(hass, problem) for problem in found.problems)
    if found.adapters:
        yield Message(Hint.PICK_BUS)
    if found.problems or found.candidates not in ([], [THIS_MACHINE]):
        return
    if found.occupied:
        yield Message(Hint.ALL_SET_UP)
        return
    if KIND_USB in kinds and not found.has_stick:
        yield Message(Hint.NO_STICK)
    if KIND_BME280 in kinds:
        if not found.has_bus:
            yield Message(Hint.NO_BUS)
        for place in found.empty:
            quoted = {"place": async_label(hass, place.label)}
            yield Message(Fault.CHIP_NOT_FOUND, quoted)


def problem_message(hass: HomeAssistant, problem: Problem) -> Message:
    """Return the text of what went wrong at a place."""
    return fault_message(hass, problem.fault, problem.details, problem.label)


def fault_message(
    hass: HomeAssistant, fault: Fault, details: Mapping[str, str], label: Label
) -> Message:
    """Return the text of a fault at a place."""
    return Message(fault, {**details, "place": async_label(hass, label)})


def candidate_label(hass: HomeAssistant, candidate: Candidate) -> str:
    """Return a device and its place for people."""
    return async_text(
        hass,
        "device_at_place",
        device=model_name(hass, candidate.model),
        place=async_label(hass, candidate.place.label),
    )


def candidate_data(hass: HomeAssistant, candidate: Candidate) -> dict[str, Any]:
    """Return the data of an entry for a device, without what a reading tells."""
    data = place_data(hass, candidate.place) | {CONF_DRIVER: candidate.driver}
    if candidate.shape is not None:
        data |= {CONF_FIRMWARE: candidate.firmware, CONF_SHAPE: candidate.shape}
    return data
