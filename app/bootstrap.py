"""`python -m app.bootstrap`: prepare a new database server for the application, once before migrations.

Reads two secrets, as variables or from the files that ``BOOTSTRAP_PLAN_FILE`` and ``BOOTSTRAP_MASTER_FILE`` name:

* ``BOOTSTRAP_MASTER``: the master user, ``{"username": ..., "password": ...}`` (the form in which RDS keeps it;
  further members are ignored). No other process of the application ever gets it.
* ``BOOTSTRAP_PLAN``: what there shall be::

      {"host": ..., "port": 5432, "database": ..., "sslmode": "verify-full", "sslrootcert": ..., "owner": ...,
       "migrate": {"user": ..., "password": ...}, "backup": {...}, "app": [{...}, {...}],
       "backup2": {...}}

It may run any number of times. Exit codes: 0 done, 1 refused or failed with nothing changed, 2 wrong variables.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

import psycopg
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from app.db import errors, roles
from app.environment import MAX_SECRET_FILE_BYTES, SettingsError

EXIT_SETTINGS: Final = 2
_CONNECT_TIMEOUT: Final = 15
"""Seconds for one connection: a server that has just come up answers slowly."""
_MASTER_CHANGE: Final = 120.0
"""Seconds for which a wrong password of the master may be one that is not there yet: ModifyDBInstance applies
`MasterUserPassword` asynchronously, "as soon as possible" (Amazon RDS API reference)."""
_MASTER_PAUSE: Final = 5.0
"""Seconds."""


def _unreserved(name: str) -> str:
    if name.startswith("pg_"):
        raise ValueError("names that start with pg_ are Postgres's own")
    return name


_Name = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}$"), AfterValidator(_unreserved)]


class Login(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    user: _Name
    password: SecretStr = Field(min_length=16)


class Plan(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(min_length=1)
    port: int = Field(default=5432, ge=1, le=65535)
    database: _Name
    sslmode: Literal["disable", "require", "verify-ca", "verify-full"] = "verify-full"
    sslrootcert: str | None = None
    owner: _Name
    migrate: Login
    backup: Login
    backup2: Login | None = None
    """The other slot of the dumps, once they have two."""
    app: tuple[Login, Login]
    """Two slots: one in use, the other idle."""

    @model_validator(mode="after")
    def _check(self) -> Plan:
        named = [self.owner, *(login.user for login in self.logins)]
        if len({*named, f"{self.database}_app", f"{self.database}_read"}) < len(named) + 2:
            raise ValueError("two roles have the same name")
        if len({login.password.get_secret_value() for login in self.logins}) < len(self.logins):
            raise ValueError("two logins have the same password")
        return self

    @property
    def logins(self) -> tuple[Login, ...]:
        return (self.migrate, *self.backups, *self.app)

    @property
    def backups(self) -> tuple[Login, ...]:
        return (self.backup,) if self.backup2 is None else (self.backup, self.backup2)

    @property
    def roles(self) -> roles.Wanted:
        return roles.Wanted(
            database=self.database,
            owner=self.owner,
            application=f"{self.database}_app",
            reader=f"{self.database}_read",
            migrators=_passwords(self.migrate),
            applications=_passwords(*self.app),
            readers=_passwords(*self.backups),
        )


class Master(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    username: str = Field(min_length=1)
    password: SecretStr = Field(min_length=1)


_Model = TypeVar("_Model", bound=BaseModel)


def load(environ: Mapping[str, str]) -> tuple[Plan, Master]:
    """Both secrets; SettingsError with every problem, and never a value."""
    problems: list[str] = []
    plan = _read(environ, "BOOTSTRAP_PLAN", Plan, problems)
    master = _read(environ, "BOOTSTRAP_MASTER", Master, problems)
    if plan is None or master is None:
        raise SettingsError(problems)
    return plan, master


def bootstrap(plan: Plan, master: Master) -> roles.Done:
    """Bring owner, logins and grants about; raises RolesError or psycopg.Error with nothing changed."""
    return errors.again(lambda: _once(plan, master))


def _once(plan: Plan, master: Master) -> roles.Done:
    wanted = plan.roles
    with _as_master(plan, master) as server:
        roles.lock(server)
        roles.refuse(server, wanted)
        known = [login for login, can_log_in in roles.existing(server, wanted).items() if can_log_in]
        right = frozenset(login for login in known if _opens(plan, login, wanted.passwords[login]))
        done = roles.apply(server, wanted, right=right)
    for login in (*done.created, *done.renewed):
        _connect(plan, login, wanted.passwords[login]).close()
    return done


def main(environ: Mapping[str, str] | None = None) -> int:
    try:
        plan, master = load(os.environ if environ is None else environ)
    except SettingsError as error:
        _log("error", "the variables cannot be used", problems=error.problems)
        return EXIT_SETTINGS
    try:
        done = bootstrap(plan, master)
    except (roles.RolesError, psycopg.Error) as error:
        _log("error", "bootstrap failed, nothing was changed", reason=str(error).strip().replace("\n", " "))
        return 1
    unchanged = [login.user for login in plan.logins if login.user not in {*done.created, *done.renewed}]
    _log("info", "database ready", created=done.created, renewed=done.renewed, unchanged=unchanged)
    if done.in_use:
        _log("warning", "renewed logins with open sessions, which cannot be opened again", sessions=done.in_use)
    return 0


def _passwords(*logins: Login) -> dict[str, str]:
    return {login.user: login.password.get_secret_value() for login in logins}


def _as_master(plan: Plan, master: Master) -> psycopg.Connection[Any]:
    """RDS says that a new master password is set before it is: being refused passes."""
    deadline = time.monotonic() + _MASTER_CHANGE
    while True:
        try:
            return _connect(plan, master.username, master.password.get_secret_value())
        except psycopg.OperationalError as error:
            if "authentication failed" not in str(error) or time.monotonic() > deadline:
                raise
        _log("info", "the server does not take the master's password yet: waiting")
        time.sleep(_MASTER_PAUSE)


def _connect(plan: Plan, user: str, password: str) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=plan.host,
        port=plan.port,
        dbname=plan.database,
        user=user,
        password=password,
        sslmode=plan.sslmode,
        sslrootcert=plan.sslrootcert or "",
        connect_timeout=_CONNECT_TIMEOUT,
        application_name="slipway-bootstrap",
        client_encoding="utf8",
        passfile="",  # no file in this user's home is to stand in for a wrong password
    )


def _opens(plan: Plan, login: str, password: str) -> bool:
    """Whether the password is right. Being refused for another reason comes after that: it needs no new password."""
    try:
        _connect(plan, login, password).close()
    except psycopg.OperationalError as error:
        # By the text: libpq does not pass on the SQLSTATE of a login that was refused.
        if "authentication failed" in str(error):
            return False
        if "permission denied for database" in str(error):
            return True
        raise roles.RolesError(f"the password of {login} could not be tried: {str(error).strip()}") from error
    return True


def _read(environ: Mapping[str, str], name: str, model: type[_Model], problems: list[str]) -> _Model | None:
    text, path = environ.get(name), environ.get(f"{name}_FILE")
    if text and path:
        problems.append(f"{name} and {name}_FILE are both set: set one of them")
    elif not text and not path:
        problems.append(f"{name} is not set")
    else:
        try:
            if path:
                with open(path, encoding="utf-8") as file:  # noqa: PTH123 - read with a limit
                    text = file.read(MAX_SECRET_FILE_BYTES)
            return model.model_validate_json(text or "")
        except ValidationError as error:
            # Without pydantic's own text, which repeats the input.
            for problem in error.errors(include_input=False, include_url=False, include_context=False):
                where = ".".join(map(str, (name, *problem["loc"])))
                reason = "is not JSON" if problem["type"] == "json_invalid" else problem["msg"]
                problems.append(f"{where}: {reason}")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            problems.append(f"{name}_FILE cannot be read: {reason}")
    return None


def _log(level: str, event: str, **fields: Any) -> None:
    """One JSON line, in the form of the application's own log."""
    print(json.dumps({"level": level, "event": event, "mode": "bootstrap", **fields}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
