"""A Postgres and a Valkey of a test's own: they can be stopped, crashed and started again on the same port."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import redis

from infra.local import binaries, identity
from rig.waiting import A_WHILE, wait_for

HOST = "127.0.0.1"


def free_port() -> int:
    """A port below the range that the kernel gives to outgoing connections: none of these may take it in an outage."""
    while True:
        port = random.randint(15_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) != 0:
                return port


class Server:
    """One process that serves `port`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers."""
        with self._log.open("ab") as log:
            # Nothing but its own: a server that is killed must not take the tests' terminal along.
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, **self._as_user())
        wait_for(self._is_up, what=lambda: f"{self._log}\n{self._log.read_text()[-2000:]}")

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=A_WHILE)
        self._process = None

    def pause(self) -> None:
        """Its connections stay open and nothing is answered, as on a host that hangs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()[-2000:]
        return self._answers()

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _as_user(self) -> dict[str, object]:
        return {}


class Postgres(Server):
    """`data` is a cluster made by `make_cluster`. Without fsync: a crash of the server loses nothing, only one of the
    machine would."""

    DATABASE = "slipway"

    def __init__(self, folder: Path, data: Path) -> None:
        super().__init__(folder, "postgres")
        self._data = data
        self._binary = binaries.postgres("postgres")
        self._who = identity.for_server(self._binary, data)

    @property
    def url(self) -> str:
        return self.url_of(self.DATABASE)

    def url_of(self, database: str, *, port: int | None = None) -> str:
        return f"postgresql://postgres@{HOST}:{port or self.port}/{database}"

    def crash(self) -> None:
        """Every session is cut, and the next start recovers from the log."""
        self.stop(signal.SIGQUIT)

    def shut_down(self) -> None:
        """As a restart for maintenance does: sessions are ended, with a message."""
        self.stop(signal.SIGINT)

    def demote(self) -> None:
        """As a primary after a failover: its sessions live on, and it takes no writes."""
        self._master("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")

    def restore(self) -> None:
        self._master("ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")

    def copy(self, data: Path) -> Postgres:
        """A standby that follows this server, running."""
        data.mkdir(mode=0o700)
        if self._who.owner:
            os.chown(data, *self._who.owner)
        command = [str(binaries.postgres("pg_basebackup")), "-D", str(data), "-R", "-c", "fast", "-U", "postgres"]
        made = self._who.run([*command, "-h", HOST, "-p", str(self.port), "--no-sync"])
        assert made.returncode == 0, made.stdout
        standby = Postgres(data.parent, data)
        standby.start()
        return standby

    def take_over(self, primary: Postgres) -> None:
        """Of a standby: once it has all that its demoted primary has written, it is one."""
        [written] = primary._master("SELECT pg_current_wal_lsn()::text")
        wait_for(lambda: self._master(f"SELECT pg_last_wal_replay_lsn() >= '{written}'") == [True], what="the standby")
        self._master("SELECT pg_promote()")

    def _master(self, *statements: str) -> list[Any]:
        """What the last of them returns."""
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            for statement in statements:
                cursor = connection.execute(statement)
            return [row[0] for row in cursor.fetchall()] if cursor.description else []

    def _command(self) -> list[str]:
        options = [f"listen_addresses={HOST}", f"port={self.port}", "unix_socket_directories=", "fsync=off"]
        options += ["max_connections=100", "shared_buffers=32MB"]
        command = [*self._who.prefix, str(self._binary), "-D", str(self._data)]
        return [*command, *(word for option in options for word in ("-c", option))]

    def _as_user(self) -> dict[str, object]:
        if not self._who.user:
            return {}
        return {"user": self._who.user[0], "group": self._who.user[1], "extra_groups": []}

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url_of("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def make_cluster(data: Path) -> None:
    """An empty cluster with small log files, so that a copy of it is quick."""
    data.mkdir(mode=0o700)
    server = binaries.postgres("postgres")
    who = identity.for_server(server, data)
    if who.owner:
        os.chown(data, *who.owner)
    command = [str(binaries.postgres("initdb")), "-D", str(data), "-U", "postgres", "-E", "UTF8", "-A", "trust", "-N"]
    made = who.run([*command, "--wal-segsize=1"])
    assert made.returncode == 0, made.stdout


def copy_cluster(template: Path, data: Path) -> None:
    """A stopped cluster's files, with their owner."""
    subprocess.run([str(shutil.which("cp")), "-a", str(template), str(data)], check=True)


class Valkey(Server):
    """Forgets everything when it stops, unless it is to `keep`: then every write is in its log before the answer."""

    def __init__(self, folder: Path, *, name: str = "valkey", keep: bool = False) -> None:
        super().__init__(folder, name)
        self._keep = keep
        self._data = folder / name
        self._data.mkdir()

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis(host=HOST, port=self.port, socket_timeout=5)

    def _command(self) -> list[str]:
        command = [str(binaries.valkey()), "--bind", HOST, "--port", str(self.port), "--dir", str(self._data)]
        command += ["--save", "", "--maxmemory-policy", "noeviction", "--repl-diskless-sync-delay", "0"]
        return [*command, "--appendonly", "yes" if self._keep else "no", "--appendfsync", "always"]

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False
