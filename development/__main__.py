"""Start a Home Assistant in which to try the integration."""

import argparse
import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
import errno
import fcntl
import json
import os
from pathlib import Path
import socket
import sys

from homeassistant.runner import LOCK_FILE_NAME

from custom_components.temperature_logger.const import MAX_INTERVAL, MIN_INTERVAL

from . import client, configuration, devices, owner
from .errors import DevelopError
from .server import Server

ANY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104 - recognised, not bound.
PORTS = 65536
FOLDER = devices.ROOT / "config"


def main() -> int:
    """Run until Ctrl-C; return the exit status."""
    arguments = parse()
    try:
        with locked(FOLDER) as lock:
            develop(arguments, lock)
    except DevelopError as err:
        print(f"scripts/develop: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped before Home Assistant was started.", file=sys.stderr)
        return 1
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/develop", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", default=8123, type=port, help="port to listen at")
    parser.add_argument(
        "--interval",
        metavar="SECONDS",
        type=interval,
        help="seconds between two readings, from now on",
    )
    return parser.parse_args()


def port(text: str) -> int:
    """Return a port that can be listened on."""
    if not 0 < (number := int(text)) < PORTS:
        raise argparse.ArgumentTypeError(f"not from 1 to {PORTS - 1}")
    return number


def interval(text: str) -> int:
    """Return an interval that the integration accepts."""
    if not MIN_INTERVAL <= (seconds := int(text)) <= MAX_INTERVAL:
        raise argparse.ArgumentTypeError(f"not from {MIN_INTERVAL} to {MAX_INTERVAL}")
    return seconds


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Lock the folder for this process and the Home Assistant that it starts."""
    folder.mkdir(exist_ok=True)
    lock = os.open(folder, os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise DevelopError(f"{running(folder)} already: stop that first.") from err
        yield lock
    finally:
        os.close(lock)


def running(folder: Path) -> str:
    """Return the process that runs from a folder."""
    try:
        text = (folder / LOCK_FILE_NAME).read_text(encoding="utf-8")
        return f"Home Assistant (process {json.loads(text)['pid']}) runs from {folder}"
    except OSError, ValueError:
        return f"Another scripts/develop prepares {folder}"


def develop(arguments: argparse.Namespace, lock: int) -> None:
    """Prepare the missing parts and run Home Assistant."""
    check_address(arguments.host, arguments.port)
    if not configuration.is_prepared(FOLDER):
        print("Preparing config/: devices, past readings.")
        configuration.prepare(FOLDER, devices.find())
    configuration.set_address(FOLDER, arguments.host, arguments.port)
    if arguments.interval is not None:
        configuration.set_interval(FOLDER, arguments.interval)
    here = "localhost" if arguments.host in ANY_ADDRESS else arguments.host
    url = f"http://{here}:{arguments.port}"
    machine = configuration.machine(FOLDER)
    if machine is not None:
        configuration.check_machine(machine)
    environment = devices.environment(machine)
    print("Starting Home Assistant.")
    asyncio.run(Server(FOLDER, environment, lock).run(lambda: greet(url)))


def check_address(host: str, port: int) -> None:
    """Refuse an address that Home Assistant could not listen on."""
    reasons = {
        errno.EACCES: f"Port {port} is for root only: choose another with --port.",
        errno.EADDRINUSE: f"Port {port} is in use: choose another with --port.",
    }
    try:
        socket.create_server((host, port)).close()
    except OSError as err:
        reason = f"This machine cannot listen at {host}:{port}: {err.strerror}."
        raise DevelopError(reasons.get(err.errno or 0, reason)) from err


async def greet(url: str) -> None:
    """Wait for Home Assistant, set its owner up, and print its address."""
    while not await client.is_answering(url):
        await asyncio.sleep(0.2)
    await owner.provide(FOLDER, url)
    machine = configuration.machine(FOLDER)
    print(f"""
Home Assistant   {url}
Owner            {client.USERNAME}, password {client.PASSWORD}
Token            config/token.txt
Sensors          {"emulated, as config/machine.json says" if machine else "real"}
Stop it with Ctrl-C.
""")


if __name__ == "__main__":
    sys.exit(main())
