"""Links to the readings over HTTP, which need no login."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from homeassistant.auth.models import User
from homeassistant.components.http.auth import async_sign_path
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.network import NoURLAvailableError, get_url
from homeassistant.util import dt as dt_util
from yarl import URL

from ..const import CONF_END, CONF_FORMAT, CONF_START, READINGS_URL, Refusal
from ..translation import refused
from .query import (
    CONF_ORDER,
    CONF_PERIOD,
    CONF_PRESSURE_UNIT,
    CONF_TEMPERATURE_UNIT,
    TARGETS,
    Query,
)
from .readings import iso

# The fields of a query that are copied into its link unchanged.
LINK_FIELDS: Final = (
    CONF_ORDER,
    CONF_PERIOD,
    CONF_PRESSURE_UNIT,
    CONF_TEMPERATURE_UNIT,
)


@callback
def async_link(
    hass: HomeAssistant, data: Mapping[str, Any], query: Query, valid_for: timedelta
) -> dict[str, Any]:
    """Return a link to the answer as CSV, and the time at which it expires.

    It gives the readings that the user of the query may read; a link for Home Assistant
    itself gives all of them.
    """
    parameters = {
        CONF_FORMAT: "csv",
        CONF_START: iso(query.start),
        CONF_END: iso(query.end),
        **{key: ",".join(cv.ensure_list(data[key])) for key in TARGETS if key in data},
        **{key: data[key] for key in LINK_FIELDS if key in data},
    }
    path = async_sign_path(
        hass,
        str(URL(READINGS_URL).with_query(parameters)),
        valid_for,
        refresh_token_id=None if query.user is None else _login(query.user),
        use_content_user=query.user is None,
    )
    return {
        "url": _base(hass) + path,
        "valid_until": (dt_util.utcnow() + valid_for).isoformat(timespec="seconds"),
    }


def _login(user: User) -> str:
    """Return the id of the user's most recent login; the link ends with that login."""
    if not user.refresh_tokens:
        raise refused(Refusal.NO_LOGIN)
    return max(
        user.refresh_tokens.values(),
        key=lambda token: token.last_used_at or token.created_at,
    ).id


def _base(hass: HomeAssistant) -> str:
    """Return the URL of Home Assistant; empty if it is not known."""
    try:
        return get_url(hass, prefer_external=True)
    except NoURLAvailableError:
        return ""
