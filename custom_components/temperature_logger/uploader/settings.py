"""Turns the values of an endpoint's forms into the data of its entry."""

from collections.abc import Iterable, Mapping
import re
from typing import Any, Final, NamedTuple

from homeassistant.const import (
    CONF_HEADERS,
    CONF_PASSWORD,
    CONF_TOKEN,
    CONF_URL,
    CONF_USERNAME,
    CONF_VERIFY_SSL,
)
from yarl import URL

from ..const import (
    CONF_GZIP,
    CONF_KIND,
    CONF_PAST,
    CONF_PROTOCOL,
    CONF_SITE,
    KIND_ENDPOINT,
)
from .endpoints import ENDPOINTS, EndpointProtocol

ADVANCED: Final = "advanced"
"""The section of the form that few users need."""
SECRET_FIELDS: Final = {CONF_PASSWORD, CONF_TOKEN}
# A token of RFC 9110, section 5.6.2.
HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
AUTHORIZATION_HEADER: Final = "authorization"
# Headers that each batch has, or that delimit its body.
RESERVED_HEADERS: Final = {
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "transfer-encoding",
}


class Settings(NamedTuple):
    """The result of a form."""

    data: dict[str, Any]
    """The data for the entry."""
    errors: dict[str, str]
    """The keys of errors, by field."""
    header: str = ""
    """The header that the text of an error quotes."""


def read_server(
    protocol: EndpointProtocol,
    user_input: Mapping[str, Any],
    current: Mapping[str, Any],
) -> Settings:
    """Read the form of a server; current is the data that it replaces, if any."""
    advanced = user_input[ADVANCED]
    endpoint = ENDPOINTS[protocol]
    names = endpoint.destination_fields
    data, errors = _texts((*names, *endpoint.login_fields, CONF_SITE), user_input)
    errors |= {name: "missing" for name in names if not data[name]}
    url, error = _read_url(user_input[CONF_URL], endpoint.url_suffixes)
    errors |= {CONF_URL: error} if error else {}
    _keep_secrets(data, current)
    errors |= _login_errors(data)
    headers, error, header = _read_headers(advanced.get(CONF_HEADERS, ""), data)
    errors |= {"base": error} if error else {}
    data |= {
        CONF_GZIP: advanced[CONF_GZIP],
        CONF_HEADERS: headers,
        CONF_KIND: KIND_ENDPOINT,
        CONF_PAST: user_input.get(CONF_PAST, current.get(CONF_PAST, True)),
        CONF_PROTOCOL: str(protocol),
        CONF_URL: url,
        CONF_VERIFY_SSL: advanced[CONF_VERIFY_SSL],
    }
    return Settings(data, errors, header)


def read_login(user_input: Mapping[str, Any], current: Mapping[str, Any]) -> Settings:
    """Read the form for another login; all other data stay as they are."""
    data, errors = _texts(ENDPOINTS[current[CONF_PROTOCOL]].login_fields, user_input)
    _keep_secrets(data, current)
    errors |= _login_errors(data)
    headers = current[CONF_HEADERS]
    if _has_login(data):
        headers = {
            name: value
            for name, value in headers.items()
            if name.lower() != AUTHORIZATION_HEADER
        }
    return Settings({**current, **data, CONF_HEADERS: headers}, errors)


def form_values(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that fill the form of a server: the data without secrets."""
    headers = "\n".join(
        f"{name}: {value}" for name, value in data[CONF_HEADERS].items()
    )
    advanced = {name: data[name] for name in (CONF_GZIP, CONF_VERIFY_SSL)}
    texts = {
        name: value
        for name, value in data.items()
        if isinstance(value, str) and name not in SECRET_FIELDS
    }
    return texts | {ADVANCED: advanced | {CONF_HEADERS: headers}}


def identity(data: Mapping[str, Any]) -> str:
    """Return the unique id of an endpoint: its destination and its site."""
    fields = ENDPOINTS[data[CONF_PROTOCOL]].destination_fields
    query = {name: data[name] for name in (CONF_PROTOCOL, *fields)}
    return str(URL(data[CONF_URL]).with_query(query).with_fragment(data[CONF_SITE]))


def default_title(data: Mapping[str, Any]) -> str:
    """Return the name of an endpoint: its host, and its database or bucket."""
    names = ENDPOINTS[data[CONF_PROTOCOL]].destination_fields
    host = URL(data[CONF_URL]).host or ""
    return f"{host} {data[names[-1]]}" if names else host


def _texts(
    names: Iterable[str], user_input: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return texts without surrounding spaces, and errors by field."""
    texts = {name: user_input.get(name, "") for name in names}
    data = {
        name: text if name == CONF_PASSWORD else text.strip()
        for name, text in texts.items()
    }
    return data, {
        name: "not_printable" for name, text in data.items() if not text.isprintable()
    }


def _read_url(text: str, suffixes: Iterable[str]) -> tuple[str, str]:
    """Return the URL of a server, and the key of its error or an empty text."""
    try:
        url = URL(text.strip())
        (url.host or "").encode("idna")  # The client would fail with such a host.
    except ValueError:
        return text, "url_invalid"
    if url.scheme not in {"http", "https"} or not url.host:
        return text, "url_invalid"
    if url.user is not None or url.password is not None:
        return text, "url_with_login"
    path = url.raw_path.rstrip("/")
    for suffix in suffixes:
        path = path.removesuffix(suffix).rstrip("/")
    return str(url.with_path(path, encoded=True)).rstrip("/"), ""


def _keep_secrets(data: dict[str, Any], current: Mapping[str, Any]) -> None:
    """Keep stored secrets, which the form does not show, if their field is empty."""
    username = data.get(CONF_USERNAME, "")
    if CONF_TOKEN in data and not data[CONF_TOKEN] and not username:
        data[CONF_TOKEN] = current.get(CONF_TOKEN, "")
    if CONF_PASSWORD in data and not data[CONF_PASSWORD]:
        is_same = username and username == current.get(CONF_USERNAME)
        data[CONF_PASSWORD] = current[CONF_PASSWORD] if is_same else ""


def _has_login(data: Mapping[str, Any]) -> bool:
    """Return whether the data have a token or a user name."""
    return bool(data.get(CONF_TOKEN) or data.get(CONF_USERNAME))


def _login_errors(data: Mapping[str, Any]) -> dict[str, str]:
    """Return the errors of a login, by field."""
    username = data.get(CONF_USERNAME, "")
    if username and data.get(CONF_TOKEN):
        return {CONF_TOKEN: "token_and_username"}
    if ":" in username:  # The first colon ends a user name (RFC 7617).
        return {CONF_USERNAME: "colon_in_username"}
    if data.get(CONF_PASSWORD) and not username:
        return {CONF_USERNAME: "username_missing"}
    return {}


def _read_headers(
    text: str, data: Mapping[str, Any]
) -> tuple[dict[str, str], str, str]:
    """Return headers, or the key of an error and the name of the header that has it."""
    headers: dict[str, str] = {}
    reserved = RESERVED_HEADERS | (
        {AUTHORIZATION_HEADER} if _has_login(data) else set()
    )
    for line in filter(str.strip, text.split("\n")):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not HEADER_NAME.fullmatch(name) or not value.isprintable():
            return {}, "header_malformed", name
        if name.lower() in reserved:
            return {}, "header_reserved", name
        headers[name] = value
    return headers, "", ""
