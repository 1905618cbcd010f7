"""The application's database, its owner and its logins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from infra.local.errors import LocalError
from infra.local.postgres_files import MAINTENANCE, SUPERUSER, connect, verifier
from infra.local.providers.base import LocalProvider, Properties


class Roles(Properties):
    host: str
    port: int
    admin_password: str
    database: str
    owner: str
    """Role without login that owns the database and everything in it."""
    application: str
    """Role without login that may read and write rows, and no more."""
    migrators: dict[str, str]
    """Login -> password; members of the owner."""
    logins: dict[str, str]
    """Login -> password; members of the application role."""


class DatabaseRoles(LocalProvider[Roles]):
    """Brings roles, database and grants about by repeatable statements. A password changes only where it is wrong, so
    the login that serves is not touched while the idle one is rotated."""

    properties = Roles

    def see(self, props: Roles, _olds: Mapping[str, Any], /) -> bool:
        try:
            _connect(props, SUPERUSER, props.admin_password, MAINTENANCE).close()
        except psycopg.Error:
            # The server is down: it will be started, with the roles that it has. Nothing can be seen now.
            return True
        return all(_opens(props, *login) for login in {**props.migrators, **props.logins}.items())

    def make(self, props: Roles, _olds: Mapping[str, Any], /) -> dict[str, Any]:
        try:
            _apply(props)
        except psycopg.Error as error:
            raise LocalError(f"postgres: the roles of database {props.database} could not be made: {error}") from error
        return {}

    def unmake(self, _path: Path, /) -> None:
        """Nothing: roles and database are part of the data, which the server's own deletion decides about."""


def _apply(props: Roles) -> None:
    with _connect(props, SUPERUSER, props.admin_password, MAINTENANCE) as server:
        for role in (props.owner, props.application):
            _ensure_role(server, role, "NOLOGIN")
        for members, group in ((props.migrators, props.owner), (props.logins, props.application)):
            for login, password in members.items():
                made = _ensure_role(server, login, "LOGIN")
                if made or not _password_right(props, login, password):
                    _run(server, "ALTER ROLE {} PASSWORD {}", login, sql.Literal(verifier(password)))
                _run(server, "GRANT {} TO {}", group, login)
        _ensure_database(server, props)
    with _connect(props, SUPERUSER, props.admin_password, props.database) as database:
        _grant(database, props)


def _ensure_role(server: psycopg.Connection[Any], role: str, kind: str) -> bool:
    """Whether it had to be made."""
    there = server.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    options = sql.SQL(f"{kind} NOSUPERUSER NOCREATEDB NOCREATEROLE")
    server.execute(
        sql.SQL("{} ROLE {} {}").format(sql.SQL("ALTER" if there else "CREATE"), sql.Identifier(role), options)
    )
    return not there


def _ensure_database(server: psycopg.Connection[Any], props: Roles) -> None:
    if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [props.database]).fetchone():
        _run(server, "CREATE DATABASE {} OWNER {}", props.database, props.owner)
    _run(server, "ALTER DATABASE {} OWNER TO {}", props.database, props.owner)
    _run(server, "REVOKE ALL ON DATABASE {} FROM PUBLIC", props.database)
    _run(server, "GRANT CONNECT ON DATABASE {} TO {}, {}", props.database, props.owner, props.application)


def _grant(database: psycopg.Connection[Any], props: Roles) -> None:
    owner, application = props.owner, props.application
    _run(database, "ALTER SCHEMA public OWNER TO {}", owner)
    _run(database, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    _run(database, "GRANT USAGE ON SCHEMA public TO {}", application)
    rows = "SELECT, INSERT, UPDATE, DELETE"
    _run(database, f"GRANT {rows} ON ALL TABLES IN SCHEMA public TO {{}}", application)
    _run(database, "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {}", application)
    future = "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA public GRANT"
    _run(database, f"{future} {rows} ON TABLES TO {{}}", owner, application)
    _run(database, f"{future} USAGE, SELECT ON SEQUENCES TO {{}}", owner, application)


def _run(connection: psycopg.Connection[Any], statement: str, *parts: str | sql.Composable) -> None:
    quoted = [sql.Identifier(part) if isinstance(part, str) else part for part in parts]
    connection.execute(sql.SQL(statement).format(*quoted))


def _password_right(props: Roles, login: str, password: str) -> bool:
    """Whether the login's password is this one already. A missing database or grant is another matter."""
    try:
        _connect(props, login, password, MAINTENANCE).close()
    except psycopg.OperationalError as error:
        return "authentication failed" not in str(error)
    return True


def _opens(props: Roles, login: str, password: str) -> bool:
    try:
        _connect(props, login, password, props.database).close()
    except psycopg.Error:
        return False
    return True


def _connect(props: Roles, user: str, password: str, database: str) -> psycopg.Connection[Any]:
    return connect(props.port, user, password, database, host=props.host)
