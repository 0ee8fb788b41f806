"""Lets the entries of lost chips follow them to another place.

The hash of its coefficients identifies a chip, so this needs no question to the user. A
chip is elsewhere, for example, after a backup was restored on another board.
"""

from collections import defaultdict
from typing import Any

from homeassistant.core import HomeAssistant, callback

from ..const import (
    CONF_MOVED_FROM,
    CONF_TRIMMING_HASH,
    DOMAIN,
    KIND_BME280,
    LOGGER,
)
from ..coordinator import LOST_CHIP_FAULTS, TemperatureLoggerConfigEntry
from ..devices import async_make_driver, driver_name, place_data, place_name
from ..drivers import DriverError, within_deadline
from ..drivers.finder import Candidate
from ..translation import async_label, async_text
from .relocation import async_fails_with, async_move
from .search import async_search, candidate_data


async def async_follow_chips(hass: HomeAssistant) -> None:
    """Move each entry that lost its chip, if the chip is found at exactly one place."""
    lost = _lost_chips(hass)
    if not lost:
        return
    owned_places = {
        entry.unique_id or "" for entry in hass.config_entries.async_entries(DOMAIN)
    }
    result = await async_search(hass, {KIND_BME280}, owned_places)
    if not result.complete:
        return
    drivers = {driver_name(entry.data) for entry in lost.values()}
    found: dict[str | None, list[Candidate]] = defaultdict(list)
    for candidate in result.candidates:
        if candidate.driver in drivers:
            found[await _async_trimming_hash(hass, candidate)].append(candidate)
    for trimming_hash, entry in lost.items():
        # The entry may have been moved, disabled or deleted during the search.
        is_still_lost = _lost_chips(hass).get(trimming_hash) is entry
        if is_still_lost and len(found[trimming_hash]) == 1:
            await _async_follow(hass, entry, found[trimming_hash][0])


@callback
def _lost_chips(hass: HomeAssistant) -> dict[str, TemperatureLoggerConfigEntry]:
    """Return the entries that lost their chips, by hash, unless entries share it."""
    by_hash: dict[str, list[TemperatureLoggerConfigEntry]] = defaultdict(list)
    for entry in hass.config_entries.async_entries(DOMAIN):
        if (trimming_hash := entry.data.get(CONF_TRIMMING_HASH)) is not None:
            by_hash[trimming_hash].append(entry)
    return {
        trimming_hash: entries[0]
        for trimming_hash, entries in by_hash.items()
        if len(entries) == 1
        and entries[0].disabled_by is None
        and async_fails_with(entries[0], LOST_CHIP_FAULTS)
    }


async def _async_trimming_hash(hass: HomeAssistant, candidate: Candidate) -> str | None:
    """Return the hash of a chip's coefficients; None if they cannot be read.

    Its driver reads the id and the coefficients, and writes nothing.
    """
    driver: Any = await async_make_driver(hass, candidate_data(hass, candidate))
    try:
        trimming_hash: str = await within_deadline(driver.identify())
    except DriverError:
        return None
    finally:
        await driver.close()
    return trimming_hash


async def _async_follow(
    hass: HomeAssistant, entry: TemperatureLoggerConfigEntry, candidate: Candidate
) -> None:
    """Move an entry to the place of its chip, and log that."""
    earlier = place_name(hass, entry.data)
    data = place_data(hass, candidate.place) | {CONF_MOVED_FROM: earlier}
    if await async_move(hass, entry, {**entry.data, **data}):
        place = async_label(hass, candidate.place.label)
        text = async_text(
            hass, "chip_followed", device=entry.title, place=place, earlier=earlier
        )
        LOGGER.warning(text)
