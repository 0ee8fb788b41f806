"""The values of a form become data of an entry, or errors."""

from datetime import UTC
from typing import Any

import pytest

from custom_components.temperature_logger.uploader.endpoints import (
    ENDPOINTS,
    EndpointProtocol,
)
from custom_components.temperature_logger.uploader.settings import (
    form_values,
    identity,
    read_login,
    read_server,
)

ADVANCED = {"gzip": True, "verify_ssl": True}
FORM_VALUES: dict[str, Any] = {
    "url": "http://influx.local:8086",
    "database": "readings",
    "org": "home",
    "bucket": "readings",
    "advanced": ADVANCED,
}
COPIED_URL = "https://h/api/v2/write?org=a&token=b#c"


def errors(
    protocol: EndpointProtocol = EndpointProtocol.JSON, **typed: object
) -> dict[str, str]:
    """Return the errors of a form."""
    return read_server(protocol, FORM_VALUES | typed, {}).errors


def headers(text: str, **typed: str) -> tuple[dict[str, str], str, str]:
    """Return the headers of a form, its error and the header that has the error."""
    form = FORM_VALUES | typed | {"advanced": ADVANCED | {"headers": text}}
    settings = read_server(EndpointProtocol.JSON, form, {})
    return settings.data["headers"], settings.errors.get("base", ""), settings.header


@pytest.mark.parametrize(
    ("protocol", "typed", "url"),
    [
        (EndpointProtocol.JSON, " http://Host:80/ ", "http://host"),
        (EndpointProtocol.JSON, "https://h/base//", "https://h/base"),
        (EndpointProtocol.JSON, "https://h/base/readings/bulk/", "https://h/base"),
        (EndpointProtocol.JSON, "https://h/readings", "https://h"),
        (EndpointProtocol.JSON, "https://h/write", "https://h/write"),
        (EndpointProtocol.INFLUXDB_1, "http://h:8086/write?db=x", "http://h:8086"),
        (EndpointProtocol.INFLUXDB_1, "http://h/a%2Fb/", "http://h/a%2Fb"),
        (EndpointProtocol.INFLUXDB_2, COPIED_URL, "https://h"),
        (EndpointProtocol.INFLUXDB_2, "http://[::1]:8086", "http://[::1]:8086"),
        (
            EndpointProtocol.INFLUXDB_2,
            "http://bücher.example",
            "http://xn--bcher-kva.example",
        ),
    ],
)
def test_url(protocol: EndpointProtocol, typed: str, url: str) -> None:
    """A pasted URL becomes the base of the URLs to post to."""
    settings = read_server(protocol, FORM_VALUES | {"url": typed}, {})
    assert not settings.errors
    assert settings.data["url"] == url


def test_suffixes_of_urls() -> None:
    """The suffixes that are removed are those that are appended."""
    for protocol in EndpointProtocol:
        data = read_server(protocol, FORM_VALUES, {}).data
        endpoint = ENDPOINTS[protocol](data, UTC)
        posted = {endpoint.url(count).path for count in (1, 2)}
        assert posted == set(endpoint.url_suffixes)


@pytest.mark.parametrize(
    "url",
    [
        "influx.local",
        "influx.local:8086",
        "ftp://h",
        "http://",
        "http:///x",
        "http://h:99999",
        "http://h:x",
        "http://[::1",
        "http://h..x",
        f"http://{'h' * 64}",
        "",
    ],
)
def test_no_url(url: str) -> None:
    """An invalid URL is found before anything is sent."""
    assert errors(url=url) == {"url": "url_invalid"}


@pytest.mark.parametrize("url", ["http://user:word@h", "http://user@h", "http://:x@h"])
def test_login_in_the_url(url: str) -> None:
    """A login in a URL is refused: it would be shown and logged with the URL."""
    assert errors(url=url) == {"url": "url_with_login"}


@pytest.mark.parametrize(
    ("protocol", "typed", "wrong"),
    [
        (
            EndpointProtocol.JSON,
            {"token": "a", "username": "b"},
            {"token": "token_and_username"},
        ),
        (EndpointProtocol.JSON, {"username": "a:b"}, {"username": "colon_in_username"}),
        (EndpointProtocol.JSON, {"password": "x"}, {"username": "username_missing"}),
        (
            EndpointProtocol.INFLUXDB_1,
            {"password": "x"},
            {"username": "username_missing"},
        ),
        (EndpointProtocol.INFLUXDB_1, {"database": " "}, {"database": "missing"}),
        (EndpointProtocol.INFLUXDB_2, {"bucket": ""}, {"bucket": "missing"}),
        (EndpointProtocol.INFLUXDB_2, {"token": "a\nb"}, {"token": "not_printable"}),
        (EndpointProtocol.INFLUXDB_2, {"org": "a\x00b"}, {"org": "not_printable"}),
        (EndpointProtocol.JSON, {"site": "a\tb"}, {"site": "not_printable"}),
        (EndpointProtocol.JSON, {"username": "a", "password": "b"}, {}),
        (EndpointProtocol.JSON, {"token": "a"}, {}),
        (EndpointProtocol.JSON, {}, {}),
    ],
)
def test_fields(
    protocol: EndpointProtocol, typed: dict[str, str], wrong: dict[str, str]
) -> None:
    """Each error is shown at its field."""
    assert errors(protocol, **typed) == wrong


def test_spaces_of_copying() -> None:
    """Surrounding spaces are removed, except those of a password."""
    typed = FORM_VALUES | {"username": " a ", "password": " b ", "site": " c d "}
    data = read_server(EndpointProtocol.JSON, typed, {}).data
    assert (data["username"], data["password"], data["site"]) == ("a", " b ", "c d")


def test_headers() -> None:
    """Each line is one header, whose name keeps its case."""
    text = "X-Api-Key: a:b c \r\n\n  x-more :d"
    assert headers(text) == ({"X-Api-Key": "a:b c", "x-more": "d"}, "", "")
    assert headers("authorization: Custom x")[0] == {"authorization": "Custom x"}


@pytest.mark.parametrize(
    ("text", "login", "wrong", "quoted"),
    [
        ("X-Key", {}, "header_malformed", "X-Key"),
        (": x", {}, "header_malformed", ""),
        ("X Key: x", {}, "header_malformed", "X Key"),
        ("X-Ö: x", {}, "header_malformed", "X-Ö"),
        ("A: b\nX-Key: a\x0bB: c", {}, "header_malformed", "X-Key"),
        ("content-type: x", {}, "header_reserved", "content-type"),
        ("Host: x", {}, "header_reserved", "Host"),
        ("Idempotency-Key: x", {}, "header_reserved", "Idempotency-Key"),
        ("Authorization: x", {"token": "t"}, "header_reserved", "Authorization"),
        ("Authorization: x", {"username": "u"}, "header_reserved", "Authorization"),
    ],
)
def test_refused_headers(
    text: str, login: dict[str, str], wrong: str, quoted: str
) -> None:
    """An error names the header that cannot be sent."""
    assert headers(text, **login) == ({}, wrong, quoted)


@pytest.mark.parametrize(
    ("old", "typed", "new"),
    [
        ({"token": "t"}, {}, ("t", "", "")),
        ({"token": "t"}, {"token": "n"}, ("n", "", "")),
        ({"token": "t"}, {"username": "u", "password": "p"}, ("", "u", "p")),
        ({"username": "u", "password": "p"}, {"username": "u"}, ("", "u", "p")),
        ({"username": "u", "password": "p"}, {"username": "v"}, ("", "v", "")),
        ({"username": "u", "password": "p"}, {}, ("", "", "")),
        ({"username": "u", "password": "p"}, {"token": "n"}, ("n", "", "")),
    ],
)
def test_secrets_that_are_kept(
    old: dict[str, str], typed: dict[str, str], new: tuple[str, str, str]
) -> None:
    """An empty field keeps its secret, unless the login typed."""
    before = read_server(EndpointProtocol.JSON, FORM_VALUES | old, {}).data
    for settings in (
        read_server(EndpointProtocol.JSON, FORM_VALUES | typed, before),
        read_login(typed, before),
    ):
        data = settings.data
        assert not settings.errors
        assert (data["token"], data["username"], data["password"]) == new


def test_a_login_replaces_a_header() -> None:
    """Another login replaces a header Authorization."""
    typed = FORM_VALUES | {"advanced": ADVANCED | {"headers": "authorization: x\nA: b"}}
    before = read_server(EndpointProtocol.JSON, typed, {}).data
    assert read_login({}, before).data == before
    assert read_login({"token": "n"}, before).data["headers"] == {"A": "b"}


@pytest.mark.parametrize("protocol", EndpointProtocol)
def test_unchanged_form(protocol: EndpointProtocol) -> None:
    """A form that is submitted unchanged typed no data, and shows no secret."""
    has_token = "token" in ENDPOINTS[protocol].login_fields
    login = {"token": "t"} if has_token else {"username": "u"}
    typed = FORM_VALUES | login | {"site": "s", "past": False}
    typed["advanced"] = {"gzip": False, "verify_ssl": False, "headers": "A: b\nC: d"}
    data = read_server(protocol, typed, {}).data
    form = form_values(data)
    assert not {"token", "password"} & form.keys()
    assert read_server(protocol, form, data).data == data
    assert data["past"] is False


def test_identity() -> None:
    """The identity is made of destination and site, not of the login."""
    data = read_server(EndpointProtocol.INFLUXDB_2, FORM_VALUES, {}).data
    for name in ("org", "bucket", "site", "url"):
        assert identity(data | {name: "http://other"}) != identity(data)
    assert identity(data | {"token": "x", "gzip": False}) == identity(data)
    assert identity(data | {"org": "a&b"}) != identity(data | {"org": "a", "b": ""})
