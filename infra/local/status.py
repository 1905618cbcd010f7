"""What the stack runs right now, asked of the supervisors."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

from infra.local.ports import LOOPBACK
from infra.local.running import deployed
from infra.local.supervisor import client
from infra.local.supervisor.spec import Spec

Kind = Literal["postgres", "redis", "api", "worker"]
ORDER: tuple[str, ...] = ("postgres", "redis", "api")
"""Data first, then what uses it; workers last, by name."""


@dataclass(frozen=True, kw_only=True)
class ReplicaStatus:
    """One process. `since` is the time of the last change of `state`, in seconds since 1970."""

    pid: int | None
    state: str
    """``starting``, ``healthy``, ``unhealthy``, ``waiting`` (for its next start), ``stopping`` or ``stopped``."""
    since: float
    restarts: int
    url: str | None
    """Its own address, for asking this one replica; None when it has none."""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """One service that should be running."""

    name: str
    kind: Kind
    state: str
    """``healthy``, ``rolling``, ``degraded`` (some replicas are not healthy), ``unhealthy`` (none is) or ``stopped``
    (there is no supervisor)."""
    replicas: tuple[ReplicaStatus, ...]
    url: str | None
    port: int | None
    log: Path


_SHOWN: Final = tuple(field.name for field in fields(ReplicaStatus))


def collect(stack_dir: Path) -> list[ServiceStatus]:
    """Every service that was brought up and not taken down since, whether it lives or not."""
    folders = [folder for folder in stack_dir.iterdir() if folder.is_dir()] if stack_dir.is_dir() else []
    folders.sort(key=lambda f: (ORDER.index(f.name) if f.name in ORDER else len(ORDER), f.name))
    return [_service(folder, spec) for folder in folders if (spec := deployed(folder))]


def _service(path: Path, spec: Spec) -> ServiceStatus:
    status = client.status(path)
    replicas = (
        tuple(ReplicaStatus(**{name: row[name] for name in _SHOWN}) for row in status["replicas"]) if status else ()
    )
    port = spec.port or spec.health.port
    return ServiceStatus(
        name=path.name,
        kind=_kind(path.name),
        state=_state(status, replicas, spec),
        replicas=replicas,
        url=f"http://{LOOPBACK}:{port}" if spec.listens else None,
        port=port,
        log=path / "log",
    )


def _kind(name: str) -> Kind:
    match name:
        case "postgres" | "redis" | "api":
            return name
    return "worker"


def _state(status: dict[str, Any] | None, replicas: tuple[ReplicaStatus, ...], spec: Spec) -> str:
    if status is None:
        return "stopped"
    healthy = sum(replica.state == "healthy" for replica in replicas)
    if status["rolling"]:
        return "rolling"
    if healthy == 0 and spec.replicas:
        return "unhealthy"
    return "healthy" if healthy == len(replicas) == spec.replicas else "degraded"
