"""Texts from the translation files, in the language of the system.

Forms and messages are translated by the frontend. These texts are for what it cannot
translate: names that are stored, and texts that another text quotes.
"""

from collections.abc import Collection, Mapping
from itertools import chain, count

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.translation import (
    async_get_cached_translations,
    async_get_translations,
)

from .const import DOMAIN
from .drivers.places import Label


async def async_explain(
    hass: HomeAssistant, key: str, details: Mapping[str, str]
) -> str:
    """Return what is wrong and what to do."""
    return (await _async_text(hass, "exceptions", f"{key}.message")).format(**details)


async def async_option(hass: HomeAssistant, selector: str, option: str) -> str:
    """Return the name of what can be picked."""
    return await _async_text(hass, "selector", f"{selector}.options.{option}")


async def async_load_texts(hass: HomeAssistant) -> None:
    """Read the texts, so that async_text has them at once."""
    await async_get_translations(hass, hass.config.language, "common", {DOMAIN})


@callback
def async_text(hass: HomeAssistant, key: str, **placeholders: str) -> str:
    """Return one of the common texts, which must have been loaded."""
    language = hass.config.language
    texts = async_get_cached_translations(hass, language, "common", DOMAIN)
    return texts[f"component.{DOMAIN}.common.{key}"].format(**placeholders)


@callback
def async_label(hass: HomeAssistant, label: Label | str) -> str:
    """Return a place or a bus for people."""
    if isinstance(label, str):
        return label
    placeholders = {
        name: async_label(hass, part) for name, part in label.placeholders.items()
    }
    return async_text(hass, label.key, **placeholders)


async def _async_text(hass: HomeAssistant, category: str, key: str) -> str:
    """Return a text by its key."""
    texts = await async_get_translations(hass, hass.config.language, category, {DOMAIN})
    return texts[f"component.{DOMAIN}.{category}.{key}"]


def unused_title(taken: Collection[str], name: str) -> str:
    """Return a name for a new entry, with a number where it is taken already."""
    names = chain([name], (f"{name} {number}" for number in count(2)))
    return next(title for title in names if title not in taken)
