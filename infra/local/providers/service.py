"""The application's long-running processes: API replicas and workers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from infra.local import ports, secretfiles
from infra.local.errors import LocalError
from infra.local.paths import make_private, project_root
from infra.local.providers.base import LocalProvider, Properties
from infra.local.running import busy, deploy, is_at
from infra.local.supervisor import client
from infra.local.supervisor.spec import Health, Spec


class ServiceHealth(BaseModel):
    """`supervisor.spec.Health`, as a resource's inputs carry it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["http", "command"]
    path: str = "/"
    ready_path: str | None = None
    command: tuple[str, ...] = ()
    interval: float = 10.0
    timeout: float = 5.0
    retries: int = 3
    startup: float = 60.0


class ServiceProperties(Properties):
    service: str
    image: str
    """What is run; ``source:<fingerprint>`` here. A change rolls."""
    command: tuple[str, ...]
    environment: dict[str, str]
    secrets: dict[str, str]
    """Variable -> value; the process gets ``VARIABLE_FILE`` with the path of a file."""
    health: ServiceHealth
    replicas: int
    port: int | None = None
    port_setting: str = "api.port"
    stop_timeout: float
    heartbeat: str | None = None
    """Variable that is to hold the path of the replica's own heartbeat file."""


class Service(LocalProvider[ServiceProperties]):
    """Outputs: `url` for a service with a port, `revision`. Updates roll: a new replica is healthy before its
    predecessor is stopped, and one that does not get healthy changes nothing and fails the resource."""

    properties = ServiceProperties

    def see(self, props: ServiceProperties, _olds: Mapping[str, Any], /) -> bool:
        files = secretfiles.find(props.path / "secrets", props.secrets)
        return files is not None and is_at(props.path, _spec(props, files))

    def make(self, props: ServiceProperties, _olds: Mapping[str, Any], /) -> dict[str, Any]:
        path = props.path
        make_private(path)
        client.end_leftovers(path)
        if props.port and not client.running(path) and not ports.is_free(props.port):
            raise LocalError(busy(props.service, props.port, props.port_setting))
        files = secretfiles.store(path / "secrets", props.secrets)
        spec = _spec(props, files)
        deploy(path, spec, port_setting=props.port_setting)
        secretfiles.prune(path / "secrets", files.values())
        return {"url": f"http://{ports.LOOPBACK}:{props.port}"} if props.port else {}

    def unmake(self, path: Path, /) -> None:
        """Stop, and leave no secret behind: without its processes nobody reads them."""
        super().unmake(path)
        secretfiles.prune(path / "secrets", ())


def interpreter(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command with this Python in place of the image's.

    Always by the same path: `slipway` starts as ``python3``, and the Pulumi CLI reaches `.venv` by a link. Neither may
    roll anything.
    """
    if command[0] != "python":
        return command
    python = Path(sys.prefix).resolve() / "bin" / "python"
    return (str(python) if python.exists() else sys.executable, *command[1:])


def application_folder() -> Path:
    """Where the application's code lies: a process starts with it first on its path."""
    return project_root()


def _spec(props: ServiceProperties, files: Mapping[str, str]) -> Spec:
    health = props.health
    return Spec(
        name=props.service,
        command=interpreter(props.command),
        health=Health(**{**dict(health), "command": interpreter(health.command) if health.command else ()}),
        environment={**props.environment, **files},
        scratch={props.heartbeat: "heartbeat"} if props.heartbeat else {},
        cwd=str(application_folder()),
        replicas=props.replicas,
        host=ports.LOOPBACK if props.port else None,
        port=props.port,
        stop_timeout=props.stop_timeout,
        label=props.image,
    )
