"""Real servers for the tests: one Postgres and one Valkey a run, a fresh database and an empty keyspace a test."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

# A module of its own that only these tests need; folders of tests are no packages.
sys.path.insert(0, str(Path(__file__).parent))

from fake_provider import Provider

from app.migrations.runner import migrate
from app.settings import Settings
from infra.local import binaries, identity

_names = itertools.count()
_START_TIMEOUT = 30.0

Wait = Callable[[Callable[[], object], type[Exception]], None]


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """Where the servers keep their files: not below pytest's folder, whose mode another run of pytest resets, and
    short, because a Unix socket's path may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="slipway-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server(server_folder: Path) -> Iterator[str]:
    """URL of a superuser on a real Postgres 18."""
    data = server_folder / "postgres"
    data.mkdir(mode=0o700)
    server = binaries.postgres("postgres")
    who = identity.for_server(server, data)
    if who.owner:
        os.chown(data, *who.owner)
    initdb = [str(binaries.postgres("initdb")), "-D", str(data), "-U", "postgres", "-E", "UTF8", "-A", "trust", "-N"]
    made = who.run(initdb)
    assert made.returncode == 0, made.stdout
    url = f"postgresql://postgres@/postgres?host={data}"
    options = ["listen_addresses=", f"unix_socket_directories={data}", "fsync=off", "max_connections=200"]
    command = [*who.prefix, str(server), "-D", str(data), *(word for option in options for word in ("-c", option))]
    with _running(command, server_folder / "postgres.log", user=who.user) as wait:
        wait(lambda: psycopg.connect(url).close(), psycopg.OperationalError)
        yield url


@pytest.fixture(scope="session")
def valkey_socket(server_folder: Path) -> Iterator[Path]:
    """Unix socket of a real Valkey 9 with the settings that a queue needs."""
    socket = server_folder / "valkey.sock"
    command = [
        *(str(binaries.valkey()), "--port", "0", "--unixsocket", str(socket), "--dir", str(server_folder)),
        *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
    ]
    with _running(command, server_folder / "valkey.log") as wait, redis.Redis(unix_socket_path=str(socket)) as client:
        wait(client.ping, redis.ConnectionError)
        yield socket


@contextmanager
def _running(command: list[str], log: Path, *, user: tuple[int, int] | None = None) -> Iterator[Wait]:
    """Run a server for as long as the block lasts; gives it a way to wait until the server answers."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            user=user[0] if user else None,
            group=user[1] if user else None,
            extra_groups=[] if user else None,
        )

    def wait(answers: Callable[[], object], not_yet: type[Exception]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                answers()
                return
            except not_yet:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, f"no answer within {_START_TIMEOUT:.0f} s\n{log.read_text()}"
                time.sleep(0.02)

    try:
        yield wait
    finally:
        process.terminate()
        process.wait(timeout=_START_TIMEOUT)


@pytest.fixture
def redis_url(valkey_socket: Path) -> str:
    """URL of an empty keyspace."""
    url = f"unix://{valkey_socket}"
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture
def database_url(postgres_server: str) -> Iterator[str]:
    """URL of a new, empty database."""
    yield from _database(postgres_server)


@pytest.fixture(scope="session")
def migrated_template(postgres_server: str) -> str:
    """Name of a database with the application's tables, made once: copying it is several times as fast as migrating."""
    name = "template_migrated"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = _url_of(postgres_server, name)
    migrate(Settings.load({"MODE": "migrate", "ENVIRONMENT": "test", "DATABASE_URL": url}))
    return name


@pytest.fixture
def migrated_url(postgres_server: str, migrated_template: str) -> Iterator[str]:
    """URL of a new database that holds the application's tables, empty."""
    yield from _database(postgres_server, template=migrated_template)


def _database(server: str, *, template: str = "template1") -> Iterator[str]:
    name = f"test_{next(_names)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _url_of(server, name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _url_of(server: str, database: str) -> str:
    return server.replace("/postgres?", f"/{database}?")


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Both providers' APIs, on one server."""
    server = Provider()
    yield server
    server.close()


@pytest.fixture
def demoted(postgres_server: str) -> Callable[[], AbstractContextManager[None]]:
    """For as long as the block lasts, the server takes no writes; its sessions live on."""

    @contextmanager
    def block() -> Iterator[None]:
        with (
            psycopg.connect(postgres_server, autocommit=True) as master,
            psycopg.connect(postgres_server, autocommit=True) as other,
        ):
            master.execute("SET default_transaction_read_only = off")

            def reload(*, until: str) -> None:
                """Sessions hear of it one after another, and this only asks for it."""
                master.execute("SELECT pg_reload_conf()")
                deadline = time.monotonic() + 20
                while other.execute("SHOW default_transaction_read_only").fetchone() != (until,):
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                time.sleep(0.1)

            try:
                master.execute("ALTER SYSTEM SET default_transaction_read_only = on")
                reload(until="on")
                yield
            finally:
                master.execute("ALTER SYSTEM RESET default_transaction_read_only")
                reload(until="off")

    return block
