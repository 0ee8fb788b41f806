"""Database servers of the test run's own, on loopback, by an unprivileged user."""

from collections.abc import Generator
from contextlib import contextmanager
import os
from pathlib import Path
import shutil
import socket
import subprocess
import tempfile
import time
from typing import Final, NamedTuple
import uuid

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import OperationalError

# Debian keeps what only an administrator starts outside of a user's path.
FOLDERS: Final = (
    *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)),
    "/usr/sbin",
)
# Seconds that a server may take to start.
PATIENCE: Final = 60


class Server(NamedTuple):
    """A kind of server, and how one is made in a folder."""

    url: URL
    prepare: tuple[str, ...]
    start: tuple[str, ...]
    create: str


SERVERS: Final = {
    "postgresql": Server(
        url=URL.create("postgresql", "postgres", host="127.0.0.1", database="postgres"),
        prepare=("initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-D", "data"),
        start=(
            *("postgres", "-D", "data", "-k", ".", "-p", "{port}"),
            *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
        ),
        create="CREATE DATABASE {name}",
    ),
    "mariadb": Server(
        url=URL.create("mysql+pymysql", "root", host="127.0.0.1"),
        prepare=("mkdir", "data"),
        start=(
            *("mariadbd", "--no-defaults", "--datadir={folder}/data"),
            *("--bind-address=127.0.0.1", "--port={port}", "--skip-networking=0"),
            *("--skip-grant-tables", "--innodb-flush-log-at-trx-commit=0"),
            *("--socket={folder}/socket", "--pid-file={folder}/pid"),
        ),
        create="CREATE DATABASE {name} CHARACTER SET utf8mb4",
    ),
}


@contextmanager
def running(kind: str) -> Generator[URL]:
    """Run a server with nothing in it; give its address."""
    server = SERVERS[kind]
    port = free_port()
    # The servers refuse to be run by root.
    user = "nobody" if os.geteuid() == 0 else None
    with (
        tempfile.TemporaryDirectory(prefix=f"{kind}-") as folder,
        Path(folder, "log").open("wb") as log,
    ):
        prepare = command(server.prepare, folder=folder, port=port)
        start = command(server.start, folder=folder, port=port)
        shutil.chown(folder, user or os.geteuid())
        subprocess.run(
            prepare, cwd=folder, user=user, stdout=log, stderr=log, check=True
        )
        with subprocess.Popen(
            start, cwd=folder, user=user, stdout=log, stderr=log
        ) as process:
            try:
                url = server.url.set(port=port)
                wait_for(url, process, Path(folder, "log"))
                yield url
            finally:
                process.terminate()


def create_database(kind: str, url: URL) -> URL:
    """Make a database with a name of its own; return its address."""
    name = f"recorder_{uuid.uuid4().hex}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(SERVERS[kind].create.format(name=name)))
    engine.dispose()
    return url.set(database=name)


def command(words: tuple[str, ...], **place: str | int) -> list[str]:
    """Return a command; skip the test where its program is not installed."""
    name, *options = words
    path = os.pathsep.join((os.environ["PATH"], *FOLDERS))
    if (found := shutil.which(name, path=path)) is None:
        why = f"{name} is not installed; scripts/databases does that or says how"
        if "CI" in os.environ:
            pytest.fail(why)
        pytest.skip(why)
    return [found, *(option.format_map(place) for option in options)]


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(url: URL, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server answers."""
    engine = create_engine(url)
    for _ in range(PATIENCE * 10):
        try:
            engine.connect().close()
        except OperationalError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
        else:
            engine.dispose()
            return
    pytest.fail(f"The server did not start:\n{log.read_text()}")
