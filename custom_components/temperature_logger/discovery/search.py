"""A search for devices that can be set up, and the data of their config entries."""

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
from ..drivers import HOST, Candidate, Finder, SearchResult
from ..shared import async_shared
from ..translation import async_label, async_text

THIS_MACHINE: Final = Candidate(driver="host", place=HOST)


async def async_search(
    hass: HomeAssistant,
    kinds: Collection[str],
    owned_places: Collection[str] = (),
    chosen_buses: Collection[str] = (),
) -> SearchResult:
    """Look for devices of some kinds at all places but those owned.

    Buses whose keys are chosen are probed even if no sensor is expected there.
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
    """Return what finds the devices."""
    return async_shared(hass, _make_finder)


def _make_finder(hass: HomeAssistant) -> Finder:
    """Make the finder, which shares the workers with the drivers."""
    return Finder(workers(hass))


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
