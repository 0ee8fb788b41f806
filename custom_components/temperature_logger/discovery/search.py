"""The search for devices to set up, and the data of their config entries."""

from collections.abc import Collection
from typing import Any, Final

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
from ..drivers import HOST
from ..drivers.finder import Candidate, Finder, SearchResult
from ..shared import shared_object
from ..translation import async_label, async_text

THIS_MACHINE: Final = Candidate(driver="host", place=HOST)


async def async_search(
    hass: HomeAssistant,
    kinds: Collection[str],
    owned_places: Collection[str] = (),
    chosen_buses: Collection[str] = (),
) -> SearchResult:
    """Search for devices of some kinds, except those at owned places.

    Chosen buses, given by their keys, are probed even if they are not by default.
    """
    if KIND_USB in kinds:
        await async_import_drivers(hass, ["temper"])
    result = await finder(hass).search(
        usb=KIND_USB in kinds,
        i2c=KIND_BME280 in kinds,
        owned_places=owned_places,
        chosen_buses=chosen_buses,
    )
    if KIND_HOST in kinds and KIND_HOST not in owned_places:
        result.candidates.append(THIS_MACHINE)
    return result


def finder(hass: HomeAssistant) -> Finder:
    """Return the shared finder of devices."""
    return shared_object(hass, _make_finder)


def _make_finder(hass: HomeAssistant) -> Finder:
    """Make the finder; it uses the same workers as the drivers."""
    return Finder(workers(hass))


def candidate_label(hass: HomeAssistant, candidate: Candidate) -> str:
    """Return the name of a device and its place for the user."""
    return async_text(
        hass,
        "device_at_place",
        device=model_name(hass, candidate.model),
        place=async_label(hass, candidate.place.label),
    )


def candidate_data(hass: HomeAssistant, candidate: Candidate) -> dict[str, Any]:
    """Return the data of an entry for a device that has not been read yet."""
    data = place_data(hass, candidate.place) | {CONF_DRIVER: candidate.driver}
    if candidate.shape is not None:
        data |= {CONF_FIRMWARE: candidate.firmware, CONF_SHAPE: candidate.shape}
    return data
