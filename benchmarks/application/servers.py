"""The Postgres and the Valkey that all contestants share, from the wheels, and what Node needs."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from benchmarks.application.processes import ROOT, BenchmarkError, Running
from infra.local import binaries, identity

PEER = ROOT / "benchmarks" / "peer"
SECRET = "benchmark-" + "k" * 54
_NODE = (20, 18)
_START_SECONDS = 30.0
_names = itertools.count()


def free_port() -> int:
    """A loopback TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def prepare_node() -> str:
    """The `node` to use, with the peer's packages installed as its lock says. Raises BenchmarkError."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm or _node_version(node) < _NODE:
        raise BenchmarkError(
            "make bench measures against Fastify and BullMQ and needs node 20.18 or newer and npm on PATH."
        )
    lock, stamp = PEER / "package-lock.json", PEER / "node_modules" / ".slipway-lock"
    if stamp.is_file() and stamp.read_bytes() == lock.read_bytes():
        return node
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=PEER, capture_output=True, text=True
    )
    if done.returncode:
        raise BenchmarkError(f"npm ci failed in {PEER.relative_to(ROOT)}:\n{done.stderr}")
    shutil.copy(lock, stamp)
    return node


def _node_version(node: str) -> tuple[int, ...]:
    said = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    return tuple(int(part) for part in re.findall(r"\d+", said)[:2])


@dataclass(frozen=True)
class Servers:
    """`folder` is for logs and files of the runs; `admin` is a superuser's URL."""

    folder: Path
    postgres_port: int
    redis_url: str
    node: str

    @property
    def admin(self) -> str:
        return self._url("postgres")

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url)

    def file(self, name: str) -> Path:
        """A new path for a run's log or list."""
        return self.folder / f"{next(_names):04d}-{name}"

    def empty(self) -> None:
        """Forget all queues."""
        with self.client() as client:
            client.flushall()

    def database(self, template: str) -> str:
        """URL of a new copy of one of `templates`, written to disk so that no run pays for the one before."""
        name = f"run_{next(_names)}"
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
            connection.execute("CHECKPOINT")
        return self._url(name)

    def drop(self, url: str) -> None:
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def templates(self) -> None:
        """Make the databases `ours`, by the application's own migrations, and `peer`, by the peer's SQL."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute("CREATE DATABASE ours")
            connection.execute("CREATE DATABASE peer")
        migrated = subprocess.run(
            [sys.executable, "-m", "app"],
            cwd=ROOT,
            env={"MODE": "migrate", "ENVIRONMENT": "test", "DATABASE_URL": self._url("ours")},
            capture_output=True,
            text=True,
        )
        if migrated.returncode:
            raise BenchmarkError(f"the migration failed:\n{migrated.stdout}{migrated.stderr}")
        with psycopg.connect(self._url("peer")) as connection:
            connection.execute((PEER / "schema.sql").read_text())

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.postgres_port}/{database}"


@contextmanager
def running(folder: Path) -> Iterator[Servers]:
    """Both servers on loopback TCP for as long as the block lasts, with Postgres' default durability."""
    servers = Servers(
        folder=folder,
        postgres_port=free_port(),
        redis_url=f"redis://127.0.0.1:{free_port()}/0",
        node=prepare_node(),
    )
    with ExitStack() as stack:
        stack.enter_context(valkey(servers))
        stack.enter_context(_postgres(servers))
        servers.templates()
        yield servers


@contextmanager
def valkey(servers: Servers) -> Iterator[Running]:
    """Without persistence: every contestant's jobs live in its memory alike."""
    port = servers.redis_url.rpartition(":")[2].partition("/")[0]
    command = [
        *(str(binaries.valkey()), "--bind", "127.0.0.1", "--port", port, "--dir", str(servers.folder)),
        *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
    ]

    def answers() -> bool:
        try:
            with servers.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    with Running(command, environment={}, log=servers.folder / "valkey.log") as server:
        server.wait_for(answers, seconds=_START_SECONDS, what="answer")
        yield server


@contextmanager
def _postgres(servers: Servers) -> Iterator[Running]:
    data = servers.folder / "postgres"
    data.mkdir(mode=0o700)
    program = binaries.postgres("postgres")
    who = identity.for_server(program, data)
    if who.owner:
        os.chown(data, *who.owner)
    made = who.run([str(binaries.postgres("initdb")), "-D", str(data), "-U", "postgres", "-E", "UTF8", "-A", "trust"])
    if made.returncode:
        raise BenchmarkError(f"initdb failed:\n{made.stdout}")
    options = [
        *("listen_addresses=127.0.0.1", f"port={servers.postgres_port}", "unix_socket_directories="),
        *("max_connections=200", "fsync=on", "synchronous_commit=on"),
    ]
    command = [*who.prefix, str(program), "-D", str(data), *(word for option in options for word in ("-c", option))]
    if who.user and not who.prefix:
        raise BenchmarkError("Postgres does not run as root: install setpriv (package util-linux), or run as a user.")

    def answers() -> bool:
        try:
            psycopg.connect(servers.admin).close()
        except psycopg.OperationalError:
            return False
        return True

    with Running(command, environment={"LC_ALL": "C"}, log=servers.folder / "postgres.log") as server:
        server.wait_for(answers, seconds=_START_SECONDS, what="answer")
        yield server
