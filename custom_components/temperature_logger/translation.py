"""Translated errors, and texts in the language of the system.

Forms and messages are translated by the frontend. These texts are for what it cannot
translate: names that are stored, and texts that another text quotes.
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
    """Return the error for a request that cannot be met now.

    The details are quoted by the text of the reason.
    """
    return _error(HomeAssistantError, reason, details)


def invalid(reason: Refusal, /, **details: str) -> ServiceValidationError:
    """Return the error for a request that the caller has to change."""
    return _error(ServiceValidationError, reason, details)


def update_failed(
    reason: StrEnum, /, *, retry_after: float | None = None, **details: str
) -> UpdateFailed:
    """Return the error for a coordinator whose update failed.

    The coordinator tries again after so many seconds, or else at its next interval.
    """
    error = _error(UpdateFailed, reason, details)
    error.retry_after = retry_after
    return error


def _error[Error: HomeAssistantError](
    kind: type[Error], reason: StrEnum, details: dict[str, str]
) -> Error:
    """Return an error with the text of a reason."""
    return kind(
        translation_domain=DOMAIN,
        translation_key=reason,
        translation_placeholders=details,
    )


async def async_explain(
    hass: HomeAssistant, key: str, details: Mapping[str, str]
) -> str:
    """Return the text of an error: the problem and its remedy."""
    return (await _async_text(hass, "exceptions", f"{key}.message")).format(**details)


async def async_option(hass: HomeAssistant, selector: str, option: str) -> str:
    """Return the name of an option of a selector."""
    return await _async_text(hass, "selector", f"{selector}.options.{option}")


async def async_load_texts(hass: HomeAssistant) -> None:
    """Read the texts, so that async_text has them at once."""
    await async_get_translations(hass, hass.config.language, "common", {DOMAIN})


@callback
def async_text(hass: HomeAssistant, key: str, **quoted: str) -> str:
    """Return one of the common texts, which must have been loaded."""
    language = hass.config.language
    texts = async_get_cached_translations(hass, language, "common", DOMAIN)
    return texts[f"component.{DOMAIN}.common.{key}"].format(**quoted)


@callback
def async_label(hass: HomeAssistant, label: Label | str) -> str:
    """Return a place or a bus for people."""
    if isinstance(label, str):
        return label
    quoted = {name: async_label(hass, part) for name, part in label.quoted.items()}
    return async_text(hass, label.key, **quoted)


async def _async_text(hass: HomeAssistant, category: str, key: str) -> str:
    """Return a text by its key, in the language of the system."""
    texts = await async_get_translations(hass, hass.config.language, category, {DOMAIN})
    return texts[f"component.{DOMAIN}.{category}.{key}"]


def unused_title(taken: Collection[str], name: str) -> str:
    """Return a name for a new entry, with a number where it is taken already."""
    names = chain([name], (f"{name} {number}" for number in count(2)))
    return next(title for title in names if title not in taken)
