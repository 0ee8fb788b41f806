"""Texts from the translation files, in the language of the system.

The frontend translates forms and messages. These texts are for the rest: names that are
stored, and texts that are placeholders of other texts.
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
    """Return the message of an error by its key, with its placeholders filled in."""
    return (await _async_text(hass, "exceptions", f"{key}.message")).format(**details)


async def async_option(hass: HomeAssistant, selector: str, option: str) -> str:
    """Return the name of an option of a selector."""
    return await _async_text(hass, "selector", f"{selector}.options.{option}")


async def async_load_texts(hass: HomeAssistant) -> None:
    """Load the texts for async_text, which cannot wait for them."""
    await async_get_translations(hass, hass.config.language, "common", {DOMAIN})


@callback
def async_text(hass: HomeAssistant, key: str, **placeholders: str) -> str:
    """Return one of the common texts; async_load_texts must have loaded them."""
    language = hass.config.language
    texts = async_get_cached_translations(hass, language, "common", DOMAIN)
    return texts[f"component.{DOMAIN}.common.{key}"].format(**placeholders)


@callback
def async_label(hass: HomeAssistant, label: Label | str) -> str:
    """Return the name of a place or bus for the user."""
    if isinstance(label, str):
        return label
    placeholders = {
        name: async_label(hass, part) for name, part in label.placeholders.items()
    }
    return async_text(hass, label.key, **placeholders)


async def _async_text(hass: HomeAssistant, category: str, key: str) -> str:
    """Return a text by category and key."""
    texts = await async_get_translations(hass, hass.config.language, category, {DOMAIN})
    return texts[f"component.{DOMAIN}.{category}.{key}"]


def unused_title(used_titles: Collection[str], name: str) -> str:
    """Return a name for a new entry, with a number if the name is already in use."""
    names = chain([name], (f"{name} {number}" for number in count(2)))
    return next(title for title in names if title not in used_titles)
