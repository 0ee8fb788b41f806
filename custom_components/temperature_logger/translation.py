"""Texts for forms that quote something, in the language of the system."""

from collections.abc import Mapping

from homeassistant.core import HomeAssistant
from homeassistant.helpers.translation import async_get_translations

from .const import DOMAIN


async def async_explain(
    hass: HomeAssistant, key: str, details: Mapping[str, str]
) -> str:
    """Return what is wrong and what to do."""
    return (await _async_text(hass, "exceptions", f"{key}.message")).format(**details)


async def async_option(hass: HomeAssistant, selector: str, option: str) -> str:
    """Return the name of what can be picked."""
    return await _async_text(hass, "selector", f"{selector}.options.{option}")


async def _async_text(hass: HomeAssistant, category: str, key: str) -> str:
    """Return a text by its key."""
    texts = await async_get_translations(hass, hass.config.language, category, {DOMAIN})
    return texts[f"component.{DOMAIN}.{category}.{key}"]
