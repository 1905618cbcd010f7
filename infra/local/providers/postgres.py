"""A Postgres server on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from infra.local import binaries, ports, postgres_files
from infra.local.errors import LocalError
from infra.local.identity import Identity, for_server
from infra.local.paths import make_private
from infra.local.providers.base import LocalProvider, Properties
from infra.local.running import deploy, is_at, port_for
from infra.local.supervisor import client
from infra.local.supervisor.spec import Health, Spec
from infra.polling import poll

SETTING = "postgres.port"
_STARTUP = 120.0
"""Seconds; recovery after a crash can take a while."""
_NOT_YET = ("starting up", "not yet accepting", "recovery", "refused")
"""Of refusals that pass. The driver gives no SQLSTATE for a failed connection; the server's messages are in English."""


class Postgres(Properties):
    password: str
    """Of the superuser."""
    port: int | None = None
    max_connections: int = 100


class PostgresServer(LocalProvider[Postgres]):
    """Outputs: `host`, `port`. Data lies in ``<folder>/data``; `port` stays what it was at the first start."""

    properties = Postgres

    def see(self, props: Postgres, _olds: Mapping[str, Any], /) -> bool:
        path = props.path
        if not (path / "data").exists() or not client.running(path):
            return False
        port = ports.kept(path, props.port)
        return is_at(path, _spec(props, port, _identity(path))) and _try(props.password, port) is None

    def make(self, props: Postgres, olds: Mapping[str, Any], /) -> dict[str, Any]:
        path = props.path
        make_private(path)
        client.end_leftovers(path)
        identity = _identity(path)
        port = port_for(path, props.port, service="postgres", setting=SETTING)
        _change_password(props, port, str(olds.get("password", "")))
        if not client.running(path):
            postgres_files.prepare(path / "data", password=props.password, identity=identity)
        _serve(props, port, identity)
        if problem := _try(props.password, port):
            if "authentication failed" not in str(problem):
                raise LocalError(f"postgres: the server on port {port} does not answer: {problem}")
            client.stop(path)
            postgres_files.reset_superuser(path / "data", password=props.password, identity=identity)
            _serve(props, port, identity)
        return {"host": ports.LOOPBACK, "port": port}


def _identity(path: Path) -> Identity:
    return for_server(binaries.postgres("postgres"), path)


def _change_password(props: Postgres, port: int, old: str) -> None:
    """Change the password while the server runs, if the last run's one still opens it."""
    if not old or old == props.password or not client.running(props.path) or _try(props.password, port) is None:
        return
    try:
        with _connect(old, port) as connection:
            verifier = postgres_files.verifier(props.password)
            connection.execute(f"ALTER ROLE {postgres_files.SUPERUSER} PASSWORD '{verifier}'")
    except psycopg.Error:
        return  # `make` sets it with the server down.


def _serve(props: Postgres, port: int, identity: Identity) -> None:
    """Start the server and wait until it takes logins."""
    deploy(props.path, _spec(props, port, identity), port_setting=SETTING)
    problem: psycopg.Error | None = None

    def answered() -> bool | None:
        nonlocal problem
        problem = _try(props.password, port)
        return None if problem and any(word in str(problem) for word in _NOT_YET) else True

    if not poll(answered, within=_STARTUP, pause=0.05):
        raise LocalError(f"postgres: it was not ready within {_STARTUP:g} s: {problem}")


def _try(password: str, port: int) -> psycopg.Error | None:
    """Log in as the superuser; what is wrong, or None."""
    try:
        _connect(password, port).close()
    except psycopg.Error as error:
        return error
    return None


def _connect(password: str, port: int) -> psycopg.Connection[Any]:
    return postgres_files.connect(port, postgres_files.SUPERUSER, password, postgres_files.MAINTENANCE)


def _spec(props: Postgres, port: int, identity: Identity) -> Spec:
    values = {
        "listen_addresses": ports.LOOPBACK,
        "port": str(port),
        # Passwords on loopback only: a socket would need a short path and a second rule for who may log in.
        "unix_socket_directories": "",
        "max_connections": str(props.max_connections),
        "shared_buffers": "64MB",
        "max_wal_size": "256MB",
        "jit": "off",
        "password_encryption": "scram-sha-256",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "log_min_duration_statement": "1s",
        "log_parameter_max_length": "0",
        "log_checkpoints": "off",
        "cluster_name": "slipway",
        "lc_messages": "C",
    }
    options = [word for name, value in values.items() for word in ("-c", f"{name}={value}")]
    return Spec(
        name="postgres",
        command=(
            *identity.prefix,
            str(binaries.postgres("postgres")),
            "-D",
            str(props.path / "data"),
            *options,
        ),
        health=Health(kind="tcp", port=port, interval=10, startup=_STARTUP, retries=6),
        strategy="recreate",
        # The fast shutdown: sessions are cut off, and everything committed is safe.
        stop_signal="SIGINT",
        stop_timeout=60,
        user=identity.user,
    )
