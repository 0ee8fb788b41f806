"""What an owner types of an endpoint, as the data of its entry; nobody is asked."""

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
    CONF_BUCKET,
    CONF_DATABASE,
    CONF_GZIP,
    CONF_KIND,
    CONF_ORG,
    CONF_PAST,
    CONF_PROTOCOL,
    CONF_SITE,
    KIND_ENDPOINT,
)
from .endpoints import EndpointProtocol

ADVANCED: Final = "advanced"
"""The part of the form that hardly anybody needs."""
NAMES: Final = {
    EndpointProtocol.INFLUXDB_1: (CONF_DATABASE,),
    EndpointProtocol.INFLUXDB_2: (CONF_ORG, CONF_BUCKET),
    EndpointProtocol.JSON: (),
}
"""What the readings are put into; all of it has to be named."""
LOGIN: Final = {
    EndpointProtocol.INFLUXDB_1: (CONF_USERNAME, CONF_PASSWORD),
    EndpointProtocol.INFLUXDB_2: (CONF_TOKEN,),
    EndpointProtocol.JSON: (CONF_TOKEN, CONF_USERNAME, CONF_PASSWORD),
}
"""What says who sends; none of it is needed where anybody may write."""
SECRETS: Final = {CONF_PASSWORD, CONF_TOKEN}
# What is posted to, which is often what a documentation gives to copy.
SUFFIXES: Final = {
    EndpointProtocol.INFLUXDB_1: ("/write",),
    EndpointProtocol.INFLUXDB_2: ("/api/v2/write",),
    EndpointProtocol.JSON: ("/readings/bulk", "/readings"),
}
# A token of RFC 9110, section 5.6.2.
HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
AUTHORIZATION: Final = "authorization"
# Headers that each batch gets, or that say where it ends.
RESERVED: Final = {
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "transfer-encoding",
}


class Settings(NamedTuple):
    """What was typed."""

    data: dict[str, Any]
    """Of the entry."""
    errors: dict[str, str]
    """The key of what is wrong, by field."""
    header: str = ""
    """What that text quotes."""


def read_server(
    protocol: EndpointProtocol, typed: Mapping[str, Any], old: Mapping[str, Any]
) -> Settings:
    """Read the form of a server; the old data are those that it is to replace."""
    advanced = typed[ADVANCED]
    names = NAMES[protocol]
    data, errors = _texts((*names, *LOGIN[protocol], CONF_SITE), typed)
    errors |= {name: "missing" for name in names if not data[name]}
    url, wrong = _read_url(typed[CONF_URL], SUFFIXES[protocol])
    errors |= {CONF_URL: wrong} if wrong else {}
    _keep_secrets(data, old)
    errors |= _login_errors(data)
    headers, wrong, header = _read_headers(advanced.get(CONF_HEADERS, ""), data)
    errors |= {"base": wrong} if wrong else {}
    data |= {
        CONF_GZIP: advanced[CONF_GZIP],
        CONF_HEADERS: headers,
        CONF_KIND: KIND_ENDPOINT,
        CONF_PAST: typed.get(CONF_PAST, old.get(CONF_PAST, True)),
        CONF_PROTOCOL: str(protocol),
        CONF_URL: url,
        CONF_VERIFY_SSL: advanced[CONF_VERIFY_SSL],
    }
    return Settings(data, errors, header)


def read_login(typed: Mapping[str, Any], old: Mapping[str, Any]) -> Settings:
    """Read the form that asks who sends; all else stays as it is."""
    data, errors = _texts(LOGIN[old[CONF_PROTOCOL]], typed)
    _keep_secrets(data, old)
    errors |= _login_errors(data)
    headers = old[CONF_HEADERS]
    if _has_login(data):
        headers = {n: v for n, v in headers.items() if n.lower() != AUTHORIZATION}
    return Settings({**old, **data, CONF_HEADERS: headers}, errors)


def shown(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of an entry as the form shows them: without secrets."""
    headers = "\n".join(
        f"{name}: {value}" for name, value in data[CONF_HEADERS].items()
    )
    advanced = {name: data[name] for name in (CONF_GZIP, CONF_VERIFY_SSL)}
    texts = {n: v for n, v in data.items() if isinstance(v, str) and n not in SECRETS}
    return texts | {ADVANCED: advanced | {CONF_HEADERS: headers}}


def identity(data: Mapping[str, Any]) -> str:
    """Return what tells a destination from others."""
    protocol = data[CONF_PROTOCOL]
    query = {name: data[name] for name in (CONF_PROTOCOL, *NAMES[protocol])}
    return str(URL(data[CONF_URL]).with_query(query).with_fragment(data[CONF_SITE]))


def default_title(data: Mapping[str, Any]) -> str:
    """Return the name of an endpoint: its host, and what the readings are put into."""
    names = NAMES[data[CONF_PROTOCOL]]
    host = URL(data[CONF_URL]).host or ""
    return f"{host} {data[names[-1]]}" if names else host


def _texts(
    names: Iterable[str], typed: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return texts without the spaces that come with copying, and what is wrong."""
    texts = {name: typed.get(name, "") for name in names}
    data = {
        n: text if n == CONF_PASSWORD else text.strip() for n, text in texts.items()
    }
    wrong = {name for name, text in data.items() if not text.isprintable()}
    return data, dict.fromkeys(wrong, "not_printable")


def _read_url(text: str, suffixes: Iterable[str]) -> tuple[str, str]:
    """Return the URL of a server, and the key of what is wrong with it."""
    try:
        url = URL(text.strip())
        (url.host or "").encode("idna")  # Where it fails, a request would.
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


def _keep_secrets(data: dict[str, Any], old: Mapping[str, Any]) -> None:
    """Keep the secrets that are not shown, where nothing was typed in their place."""
    username = data.get(CONF_USERNAME, "")
    if CONF_TOKEN in data and not data[CONF_TOKEN] and not username:
        data[CONF_TOKEN] = old.get(CONF_TOKEN, "")
    if CONF_PASSWORD in data and not data[CONF_PASSWORD]:
        is_same = username and username == old.get(CONF_USERNAME)
        data[CONF_PASSWORD] = old[CONF_PASSWORD] if is_same else ""


def _has_login(data: Mapping[str, Any]) -> bool:
    """Return whether it is said who sends."""
    return bool(data.get(CONF_TOKEN) or data.get(CONF_USERNAME))


def _login_errors(data: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with who sends, by field."""
    username = data.get(CONF_USERNAME, "")
    if username and data.get(CONF_TOKEN):
        return {CONF_TOKEN: "token_and_username"}
    if ":" in username:  # It ends where the first colon is (RFC 7617).
        return {CONF_USERNAME: "colon_in_username"}
    if data.get(CONF_PASSWORD) and not username:
        return {CONF_USERNAME: "username_missing"}
    return {}


def _read_headers(
    text: str, data: Mapping[str, Any]
) -> tuple[dict[str, str], str, str]:
    """Return headers, the key of what is wrong with one, and which one it is."""
    headers: dict[str, str] = {}
    reserved = RESERVED | ({AUTHORIZATION} if _has_login(data) else set())
    for line in filter(str.strip, text.split("\n")):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not HEADER_NAME.fullmatch(name) or not value.isprintable():
            return {}, "header_malformed", name
        if name.lower() in reserved:
            return {}, "header_reserved", name
        headers[name] = value
    return headers, "", ""
