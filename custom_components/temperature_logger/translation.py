"""Translated errors, and texts in the language of the system.

The frontend translates forms and messages. The texts in the language of the system are
for the rest: names that are stored, and texts that are placeholders of other texts.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from itertools import chain, count

from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers.translation import (
    async_get_cached_translations,
    async_get_translations,
)
from homeassistant.helpers.update_coordinator import UpdateFailed

from .const import DOMAIN, Refusal
from .drivers import Label


def refused(reason: Refusal, /, **details: str) -> HomeAssistantError:
    """Return the error of a request that cannot be met now.

    The details are the placeholders of the text for the reason.
    """
    return _error(HomeAssistantError, reason, details)


def invalid(reason: Refusal, /, **details: str) -> ServiceValidationError:
    """Return the error of a request that the caller has to change."""
    return _error(ServiceValidationError, reason, details)


def update_failed(
    reason: StrEnum, /, *, retry_after: float | None = None, **details: str
) -> UpdateFailed:
    """Return the error of a coordinator whose update failed.

    The coordinator retries after so many seconds, or else at its next interval.
    """
    error = _error(UpdateFailed, reason, details)
    error.retry_after = retry_after
    return error


def as_update_failed(err: HomeAssistantError) -> UpdateFailed:
    """Return the error of a coordinator, with the text of the error that stopped it."""
    return UpdateFailed(
        translation_domain=err.translation_domain,
        translation_key=err.translation_key,
        translation_placeholders=err.translation_placeholders,
    )


def _error[Error: HomeAssistantError](
    kind: type[Error], reason: StrEnum, details: dict[str, str]
) -> Error:
    """Return a translated error with the text of a reason."""
    return kind(
        translation_domain=DOMAIN,
        translation_key=reason,
        translation_placeholders=details,
    )


async def async_explain(
    hass: HomeAssistant, key: str, details: Mapping[str, str]
) -> str:
    """Return the text of an error, the problem and its remedy, by its key."""
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
    """Return a text by category and key, in the language of the system."""
    texts = await async_get_translations(hass, hass.config.language, category, {DOMAIN})
    return texts[f"component.{DOMAIN}.{category}.{key}"]


def unused_title(used_titles: Collection[str], name: str) -> str:
    """Return a name for a new entry, with a number if the name is already in use."""
    names = chain([name], (f"{name} {number}" for number in count(2)))
    return next(title for title in names if title not in used_titles)
