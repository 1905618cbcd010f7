"""A Valkey server on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.local import binaries, ports
from infra.local.errors import LocalError
from infra.local.paths import make_private, write_private
from infra.local.providers.base import LocalProvider, Properties
from infra.local.running import deploy, is_at, port_for
from infra.local.supervisor import client
from infra.local.supervisor.spec import Health, Spec
from infra.polling import poll

SETTING = "redis.port"
ADMIN = "slipway_admin"
_APPLICATION = "~* &* +@all -@admin +client +config|get"
"""What RQ and its tools use: everything but administration; CLIENT for worker names and lists."""

_LOADING: Final = 120
"""Seconds for the data: Valkey reads some 100 MB of append-only file in one."""


class Valkey(Properties):
    admin_password: str
    users: dict[str, str]
    """Name -> password of the application's users."""
    port: int | None = None
    max_memory: int | None = None
    """Bytes; None: no limit but the machine's. When full, writes are refused: nothing queued is evicted."""


class ValkeyServer(LocalProvider[Valkey]):
    """Outputs: `host`, `port`. A changed password of one user disturbs nobody else's connections."""

    properties = Valkey

    def see(self, props: Valkey, _olds: Mapping[str, Any], /) -> bool:
        path = props.path
        if not client.running(path):
            return False
        port = ports.kept(path, props.port)
        logins = {ADMIN: props.admin_password, **props.users}
        return is_at(path, _spec(props, port)) and all(_answers(port, u, p) for u, p in logins.items())

    def make(self, props: Valkey, olds: Mapping[str, Any], /) -> dict[str, Any]:
        path = props.path
        make_private(path)
        client.end_leftovers(path)
        make_private(path / "data")
        port = port_for(path, props.port, service="redis", setting=SETTING)
        if client.running(path) and not _answers(port, ADMIN, props.admin_password):
            _renew_admin(props, port, str(olds.get("admin_password", "")))
        if client.running(path):
            _change_users(props, port)
        else:
            _write_users(props)
        deploy(path, _spec(props, port), port_setting=SETTING)
        _await_data(port, props.admin_password)
        for user, password in props.users.items():
            if not _answers(port, user, password):
                raise LocalError(f"redis: user {user} cannot log in to the server on port {port}; see {path / 'log'}")
        return {"host": ports.LOOPBACK, "port": port}


def _rules(props: Valkey) -> dict[str, str]:
    """Users as the server's ACL has them; passwords are random, so their plain SHA-256 gives nothing away."""
    users = {ADMIN: (props.admin_password, "~* &* +@all")}
    users |= {name: (password, _APPLICATION) for name, password in props.users.items()}
    hashed = {name: hashlib.sha256(password.encode()).hexdigest() for name, (password, _) in users.items()}
    return {name: f"reset on #{hashed[name]} {rules}" for name, (_, rules) in users.items()}


def _write_users(props: Valkey) -> None:
    lines = ["user default off", *(f"user {name} {rules}" for name, rules in _rules(props).items())]
    write_private(props.path / "users.acl", "\n".join(lines) + "\n")


def _renew_admin(props: Valkey, port: int, old: str) -> None:
    """Change the administrator's password in the living server, with the one before."""
    if not old or not _answers(port, ADMIN, old):
        # The state that held it is gone; a new one is read at the start.
        client.stop(props.path)
        return
    with _connect(port, ADMIN, old) as server:
        server.execute_command("ACL", "SETUSER", ADMIN, *_rules(props)[ADMIN].split())
        server.execute_command("ACL", "SAVE")


def _change_users(props: Valkey, port: int) -> None:
    """Change users in the living server, and only those whose password changed: SETUSER keeps connections."""
    stale = [name for name, password in props.users.items() if not _answers(port, name, password)]
    if not stale:
        return
    rules = _rules(props)
    with _connect(port, ADMIN, props.admin_password) as server:
        for name in stale:
            server.execute_command("ACL", "SETUSER", name, *rules[name].split())
        server.execute_command("ACL", "SAVE")


def _answers(port: int, user: str, password: str) -> bool:
    try:
        with _connect(port, user, password) as server:
            return bool(server.ping())
    except redis.BusyLoadingError:
        return True  # It has taken the password, and reads its data after a start.
    except redis.RedisError:
        return False


def _await_data(port: int, password: str) -> None:
    """Wait until the server has read its data: it listens before, and refuses commands until then.

    After a killed server this takes as long as what was queued is large; without it, an `up` after a reboot failed.
    """

    def loaded() -> bool | None:
        try:
            with _connect(port, ADMIN, password) as server:
                server.ping()
        except redis.BusyLoadingError:
            return None
        except redis.RedisError:
            pass  # The login of the users, which comes next, says what is wrong.
        return True

    if not poll(loaded, within=_LOADING, pause=0.02):
        raise LocalError(
            f"redis: the server still reads its data after {_LOADING} s. It goes on by itself; run up again."
        )


def _connect(port: int, user: str, password: str) -> redis.Redis:
    return redis.Redis(
        host=ports.LOOPBACK,
        port=port,
        username=user,
        password=password,
        socket_timeout=5,
        socket_connect_timeout=5,
        # A wrong password is an answer here; by default the client would ask for seconds.
        retry=Retry(NoBackoff(), 0),
    )


def _spec(props: Valkey, port: int) -> Spec:
    values = {
        "bind": ports.LOOPBACK,
        "port": str(port),
        "protected-mode": "yes",
        "dir": str(props.path / "data"),
        "aclfile": str(props.path / "users.acl"),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "maxmemory": str(props.max_memory or 0),
        "logfile": "",
        "daemonize": "no",
    }
    options = [word for name, value in values.items() for word in (f"--{name}", value)]
    return Spec(
        name="redis",
        command=(str(binaries.valkey()), *options),
        health=Health(kind="tcp", port=port, interval=10, startup=60, retries=6),
        cwd=str(props.path / "data"),
        strategy="recreate",
        stop_timeout=30,
    )
