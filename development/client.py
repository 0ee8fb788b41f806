"""A client of the development Home Assistant, logged in as its owner."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

from aiohttp import ClientError, ClientSession, ClientWebSocketResponse

from .errors import DevelopError

NAME = "Developer"
USERNAME = "developer"
# The password is printed, and Home Assistant listens on this machine's own address by
# default.
PASSWORD = "thermometer"  # noqa: S105


async def is_answering(url: str) -> bool:
    """Return whether the web server answers."""
    async with ClientSession() as session:
        try:
            async with session.get(f"{url}/manifest.json") as response:
                return response.status == HTTPStatus.OK
        except ClientError:
            return False


async def log_in(url: str) -> str:
    """Return an access token of the owner, who is created if missing."""
    async with ClientSession(url) as session:
        client = {"client_id": f"{url}/"}
        if not await _is_onboarded(session):
            owner = {"name": NAME, "username": USERNAME, "password": PASSWORD}
            await _post(
                session, "/api/onboarding/users", client | owner | {"language": "en"}
            )
        code = await _log_in(session, client)
        async with session.post(
            "/auth/token",
            data=client | {"grant_type": "authorization_code", "code": code},
        ) as response:
            token: str = (await response.json())["access_token"]
            return token


async def _is_onboarded(session: ClientSession) -> bool:
    """Return whether there is an owner."""
    async with session.get("/api/onboarding") as response:
        # The endpoint is gone once every step is done.
        if response.status == HTTPStatus.NOT_FOUND:
            return True
        return all(step["done"] for step in await response.json())


async def _log_in(session: ClientSession, client: dict[str, str]) -> str:
    """Log in with the owner's name and password; return the code for a token."""
    flow = await _post(
        session,
        "/auth/login_flow",
        client
        | {"handler": ["homeassistant", None], "redirect_uri": client["client_id"]},
    )
    result = await _post(
        session,
        f"/auth/login_flow/{flow['flow_id']}",
        client | {"username": USERNAME, "password": PASSWORD},
    )
    if "result" not in result:
        raise DevelopError(
            f"The owner {USERNAME} has another password: remove config/ to begin anew."
        )
    code: str = result["result"]
    return code


async def _post(session: ClientSession, path: str, data: object) -> dict[str, Any]:
    """Post JSON and return the answer."""
    async with session.post(path, json=data) as response:
        if response.status != HTTPStatus.OK:
            raise DevelopError(
                f"Home Assistant answered {path} with status {response.status}."
            )
        answer: dict[str, Any] = await response.json()
        return answer


@dataclass(slots=True)
class WebSocket:
    """An authenticated WebSocket."""

    _socket: ClientWebSocketResponse
    _last: int = 0

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, token: str) -> AsyncIterator[Self]:
        """Connect and authenticate."""
        async with (
            ClientSession() as session,
            session.ws_connect(f"{url}/api/websocket", max_msg_size=0) as socket,
        ):
            await socket.receive_json()
            await socket.send_json({"type": "auth", "access_token": token})
            answer = await socket.receive_json()
            if answer["type"] != "auth_ok":
                raise DevelopError(
                    "Home Assistant refuses config/token.txt: remove it to get another."
                )
            yield cls(socket)

    async def ask(self, command: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
        """Send a command and return its result, whatever JSON that is."""
        self._last += 1
        try:
            await self._socket.send_json(
                {"id": self._last, "type": command} | arguments
            )
            answer = await self._socket.receive_json()
        except (ClientError, TypeError) as err:  # The latter is a closed connection.
            raise DevelopError("Home Assistant closed the connection.") from err
        if not answer["success"]:
            raise DevelopError(
                f"Home Assistant refused {command}: {answer['error']['message']}."
            )
        return answer["result"]
