"""The database's owner, logins and grants, brought about by repeatable statements.

Three roles without login hold the rights: the *owner* of every table, *application* (reads and writes rows) and
*reader* (reads rows). Logins only are members of one of them, so that they can come and go.

All of it happens in one transaction: whatever is refused or fails leaves the server as it was. A password is set only
where it does not open the database already, so that the login in use is not touched while the idle one is renewed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import sql

from app.db import locks

OLDEST_SERVER: Final = 14
_LOCK_TIMEOUT: Final = "30s"
_POWERS: Final = ("rolsuper", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls")


class RolesError(Exception):
    """Nothing was changed; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The roles and logins that there shall be."""

    database: str
    owner: str
    application: str
    reader: str
    migrators: Mapping[str, str] = field(repr=False)
    """Login -> password; members of the owner."""
    applications: Mapping[str, str] = field(repr=False)
    """Login -> password; members of `application`."""
    readers: Mapping[str, str] = field(repr=False)
    """Login -> password; members of `reader`, in read-only transactions."""

    @property
    def groups(self) -> tuple[str, str, str]:
        return self.owner, self.application, self.reader

    @property
    def members(self) -> Mapping[str, str]:
        """Login -> the role that it belongs to."""
        of = ((self.migrators, self.owner), (self.applications, self.application), (self.readers, self.reader))
        return {login: group for logins, group in of for login in logins}

    @property
    def passwords(self) -> Mapping[str, str]:
        return {**self.migrators, **self.applications, **self.readers}


@dataclass(frozen=True, kw_only=True)
class Done:
    """Names of logins."""

    created: tuple[str, ...]
    renewed: tuple[str, ...]
    """Had another password before."""
    in_use: Mapping[str, int]
    """Of the renewed ones, those with open sessions, and how many: these cannot log in again with the old password."""


def refuse(server: psycopg.Connection[Any], wanted: Wanted) -> None:
    """Raise RolesError for a server, a user or a role that this must not, or cannot, be done with."""
    major = server.info.server_version // 10_000
    if major < OLDEST_SERVER:
        raise RolesError(f"the server is Postgres {major}; {OLDEST_SERVER} or newer is needed")
    if _one(server, "SELECT pg_is_in_recovery()"):
        raise RolesError("the server is a read replica, which takes no roles: use the address of the primary")
    if _one(server, "SELECT current_setting('transaction_read_only')") == "on":
        raise RolesError("the server takes no writes, as a primary that was demoted: use the address of the primary")
    me = server.info.user
    if me in {*wanted.groups, *wanted.members}:
        raise RolesError(f"{me} is the user that makes the roles and cannot be one of them: choose other names")
    if not _one(
        server, "SELECT rolsuper OR (rolcreaterole AND rolcreatedb) FROM pg_roles WHERE rolname = current_user"
    ):
        raise RolesError(f"{me} may not create roles and hand over a database: use the server's master user")
    _refuse_powerful(server, wanted)
    _refuse_strange_memberships(server, wanted)
    _refuse_foreign_tables(server, wanted)


def existing(server: psycopg.Connection[Any], wanted: Wanted) -> dict[str, bool]:
    """Those of the logins that exist, and whether they may log in."""
    rows = server.execute(
        "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname = ANY(%s)", [list(wanted.members)]
    ).fetchall()
    return dict(rows)


def apply(server: psycopg.Connection[Any], wanted: Wanted, *, right: frozenset[str]) -> Done:
    """Make it so. `right` names the logins whose password is right already. The caller commits."""
    before = existing(server, wanted)
    for group in wanted.groups:
        if not _one(server, "SELECT 1 FROM pg_roles WHERE rolname = %s", group):
            _run(server, "CREATE ROLE {} NOLOGIN", group)
    # To give away ownership, and to set what the owner's future tables grant, one has to be a member of it.
    _run(server, "GRANT {} TO CURRENT_USER", wanted.owner)
    for login, group in wanted.members.items():
        if login not in before:
            _run(server, "CREATE ROLE {} LOGIN", login)
        elif not before[login]:
            _run(server, "ALTER ROLE {} LOGIN", login)
        if login not in right:
            # A verifier, not the password: statements may end up in the server's log.
            _run(server, "ALTER ROLE {} PASSWORD {}", login, sql.Literal(_verifier(server, login, wanted)))
        _run(server, "GRANT {} TO {}", group, login)
    for login in wanted.readers:
        _run(server, "ALTER ROLE {} SET default_transaction_read_only = on", login)
    _hand_over(server, wanted)
    _grant(server, wanted)
    _verify(server, wanted)
    renewed = tuple(login for login in before if login not in right)
    return Done(
        created=tuple(login for login in wanted.members if login not in before),
        renewed=renewed,
        in_use=_sessions(server, renewed),
    )


def lock(server: psycopg.Connection[Any]) -> None:
    """Wait for another run to end; RolesError when it takes too long."""
    server.execute("SELECT set_config('lock_timeout', %s, true)", [_LOCK_TIMEOUT])
    try:
        server.execute("SELECT pg_advisory_xact_lock(%s)", [locks.BOOTSTRAP])
    except psycopg.errors.LockNotAvailable:
        raise RolesError(f"another bootstrap did not end within {_LOCK_TIMEOUT}: run it again later") from None


def _refuse_powerful(server: psycopg.Connection[Any], wanted: Wanted) -> None:
    """A role of that name that can do more was made for something else: its password must not be taken over."""
    columns = ", ".join(_POWERS)
    rows = server.execute(
        f"SELECT rolname, rolcanlogin, {columns} FROM pg_roles WHERE rolname = ANY(%s)",  # noqa: S608 - own constants
        [[*wanted.groups, *wanted.members]],
    ).fetchall()
    for name, can_login, *powers in rows:
        held = [power.removeprefix("rol") for power, has in zip(_POWERS, powers, strict=True) if has]
        if held:
            raise RolesError(
                f"role {name} exists and has {', '.join(held)}, so it was made for something else: "
                f"choose another name, or take that away: ALTER ROLE {name} NO{held[0].upper()}"
            )
        if name in wanted.groups and can_login:
            raise RolesError(
                f"role {name} exists and can log in; the roles that hold rights must not: choose another name for it, "
                f"or: ALTER ROLE {name} NOLOGIN"
            )


def _refuse_strange_memberships(server: psycopg.Connection[Any], wanted: Wanted) -> None:
    """A login with a second role, granted by hand, has more rights than it should; nobody would notice."""
    rows = server.execute(
        "SELECT m.rolname, g.rolname FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member "
        "JOIN pg_roles g ON g.oid = a.roleid WHERE m.rolname = ANY(%s) ORDER BY 1, 2",
        [[*wanted.groups, *wanted.members]],
    ).fetchall()
    for member, group in rows:
        if wanted.members.get(member) != group:
            raise RolesError(
                f"{member} is a member of {group}, which gives it rights that it should not have: "
                f"REVOKE {group} FROM {member}"
            )


def _refuse_foreign_tables(server: psycopg.Connection[Any], wanted: Wanted) -> None:
    """Tables of the master user are adopted; those of somebody else may be in use by something else."""
    me = server.info.user
    foreign = sorted({owner for _, owner in _relations(server)} - {wanted.owner, me})
    if foreign:
        raise RolesError(
            f"schema public holds tables of {', '.join(foreign)}. If they belong to this application, hand them over "
            f"as {me}, then run this again: GRANT {foreign[0]} TO {me}; REASSIGN OWNED BY {foreign[0]} TO {me}"
        )


def _relations(server: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    """Tables, views and free-standing sequences in schema public with their owners, without those of extensions."""
    return server.execute(
        "SELECT c.relname, pg_get_userbyid(c.relowner) FROM pg_class c "
        "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') "
        "AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid "
        "AND d.deptype IN ('a', 'i', 'e')) ORDER BY 1"
    ).fetchall()


def _hand_over(server: psycopg.Connection[Any], wanted: Wanted) -> None:
    owner = _one(server, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()")
    if owner != wanted.owner:
        _run(server, "ALTER DATABASE {} OWNER TO {}", wanted.database, wanted.owner)
    # Before its tables: the owner of a table must be able to create one there.
    _run(server, "GRANT USAGE, CREATE ON SCHEMA public TO {}", wanted.owner)
    for relation, owner in _relations(server):
        if owner != wanted.owner:
            _run(server, "ALTER TABLE public.{} OWNER TO {}", relation, wanted.owner)


def _grant(server: psycopg.Connection[Any], wanted: Wanted) -> None:
    owner, application, reader = wanted.groups
    _run(server, "REVOKE ALL ON DATABASE {} FROM PUBLIC", wanted.database)
    _run(server, "GRANT CONNECT ON DATABASE {} TO {}, {}", wanted.database, application, reader)
    _run(server, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
    _run(server, "GRANT USAGE ON SCHEMA public TO {}, {}", application, reader)
    for role, tables, sequences in (
        (application, "SELECT, INSERT, UPDATE, DELETE", "USAGE, SELECT"),
        (reader, "SELECT", "SELECT"),
    ):
        future = "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA public GRANT"
        _run(server, f"GRANT {tables} ON ALL TABLES IN SCHEMA public TO {{}}", role)
        _run(server, f"GRANT {sequences} ON ALL SEQUENCES IN SCHEMA public TO {{}}", role)
        _run(server, f"{future} {tables} ON TABLES TO {{}}", owner, role)
        _run(server, f"{future} {sequences} ON SEQUENCES TO {{}}", owner, role)


def _verify(server: psycopg.Connection[Any], wanted: Wanted) -> None:
    """GRANT and REVOKE only warn where the user has no right to them, as on a schema that belongs to somebody else."""
    facts = {
        f"{wanted.owner} cannot create tables": "SELECT has_schema_privilege(%(owner)s, 'public', 'CREATE')",
        f"{wanted.application} can create tables": "SELECT NOT has_schema_privilege(%(app)s, 'public', 'CREATE')",
        f"{wanted.reader} can create tables": "SELECT NOT has_schema_privilege(%(reader)s, 'public', 'CREATE')",
        "every user of the server can connect": "SELECT NOT has_database_privilege('public', %(db)s, 'CONNECT')",
    }
    names = {"owner": wanted.owner, "app": wanted.application, "reader": wanted.reader, "db": wanted.database}
    wrong = [what for what, query in facts.items() if not server.execute(query, names).fetchone()[0]]  # type: ignore[index]
    if wrong:
        raise RolesError(
            f"{server.info.user} could not set the rights: {'; '.join(wrong)}. Schema public of {wanted.database} "
            f"probably belongs to another user: ALTER SCHEMA public OWNER TO {server.info.user}"
        )


def _sessions(server: psycopg.Connection[Any], logins: tuple[str, ...]) -> dict[str, int]:
    rows = server.execute(
        "SELECT usename, count(*) FROM pg_stat_activity WHERE usename = ANY(%s) GROUP BY 1", [list(logins)]
    ).fetchall()
    return {str(name): int(count) for name, count in rows}


def _verifier(server: psycopg.Connection[Any], login: str, wanted: Wanted) -> str:
    password = wanted.passwords[login].encode()
    return server.pgconn.encrypt_password(password, login.encode(), b"scram-sha-256").decode()


def _run(server: psycopg.Connection[Any], statement: str, *parts: str | sql.Composable) -> None:
    quoted = [sql.Identifier(part) if isinstance(part, str) else part for part in parts]
    server.execute(sql.SQL(statement).format(*quoted))


def _one(server: psycopg.Connection[Any], query: str, *values: str) -> Any:
    row = server.execute(query, values or None).fetchone()
    return row[0] if row else None
