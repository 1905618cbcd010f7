"""What a supervisor runs, as plain data that survives JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Health:
    """How a replica is asked whether it works. Times are in seconds.

    `http` asks the replica's own private socket, `tcp` connects to `port`, `command` runs with the replica's
    environment and must exit 0.
    """

    kind: Literal["http", "tcp", "command"]
    path: str = "/"
    """What a running replica is asked (liveness)."""
    ready_path: str | None = None
    """What a starting replica must answer with 200 before it is let in; None: the same as `path`."""
    port: int | None = None
    command: tuple[str, ...] = ()
    interval: float = 10.0
    timeout: float = 5.0
    retries: int = 3
    """So many failed checks in a row restart a running replica."""
    startup: float = 30.0
    """A replica that is not ready by then has failed."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One service. Everything but `replicas` is its template: a changed template rolls the replicas."""

    name: str
    command: tuple[str, ...]
    health: Health
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the supervisor's own small environment. Secrets come as ``NAME_FILE`` paths, never as values."""
    scratch: Mapping[str, str] = field(default_factory=dict)
    """Variable -> file name; each replica gets the path of its own file of that name."""
    cwd: str = "/"
    replicas: int = 1
    host: str | None = None
    port: int | None = None
    """With both set the supervisor binds the socket itself and passes it on (``LISTEN_FDS``)."""
    strategy: Literal["rolling", "recreate"] = "rolling"
    """`recreate` stops the old process first: for servers that own a data directory."""
    stop_signal: str = "SIGTERM"
    stop_timeout: float = 30.0
    """From the stop signal to SIGKILL."""
    user: tuple[int, int] | None = None
    """uid and gid that the replicas run as; None: as the supervisor."""
    label: str = ""
    """What is run, for people: the image or source fingerprint. Part of the template."""

    @property
    def revision(self) -> str:
        """Fingerprint of the template."""
        template = {k: v for k, v in dataclasses.asdict(self).items() if k != "replicas"}
        return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def listens(self) -> bool:
        return self.host is not None and self.port is not None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Spec:
        """The inverse of `to_json`; TypeError names an unknown or a missing key."""
        values = dict(data)
        health = dict(values.pop("health"))
        health["command"] = tuple(health.get("command", ()))
        values["command"] = tuple(values["command"])
        if values.get("user") is not None:
            uid, gid = values["user"]
            values["user"] = (int(uid), int(gid))
        return cls(health=Health(**health), **values)
