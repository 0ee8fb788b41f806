"""Database servers of the test run's own."""

from collections.abc import Generator
from contextlib import contextmanager
from signal import SIGKILL, SIGQUIT, Signals
from typing import Final, NamedTuple
import uuid

from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import OperationalError

from tests.servers import served


class Server(NamedTuple):
    """A kind of server, and how one is made in a folder."""

    url: URL
    prepare: tuple[str, ...]
    start: tuple[str, ...]
    create: str
    stop: Signals = SIGKILL


SERVERS: Final = {
    "postgresql": Server(
        url=URL.create("postgresql", "postgres", host="127.0.0.1", database="postgres"),
        prepare=("initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-D", "data"),
        start=(
            *("postgres", "-D", "data", "-k", ".", "-p", "{port}"),
            *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
        ),
        create="CREATE DATABASE {name}",
        stop=SIGQUIT,  # Its own processes end with it.
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

    def answers(port: int) -> bool:
        engine = create_engine(server.url.set(port=port))
        try:
            engine.connect().close()
        except OperationalError:
            return False
        finally:
            engine.dispose()
        return True

    with served(
        server.start, answers, prepare=server.prepare, stop=server.stop
    ) as port:
        yield server.url.set(port=port)


def create_database(kind: str, url: URL) -> URL:
    """Make a database with a name of its own; return its address."""
    name = f"recorder_{uuid.uuid4().hex}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(SERVERS[kind].create.format(name=name)))
    engine.dispose()
    return url.set(database=name)
