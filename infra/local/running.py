"""Bringing a service to a specification, and seeing whether it is there."""

from __future__ import annotations

import json
from pathlib import Path

from infra.local import ports
from infra.local.errors import LocalError, NotServing
from infra.local.paths import write_private
from infra.local.supervisor import client
from infra.local.supervisor.spec import Spec

DEPLOYED = "deployed.json"
"""The specification that should be running; there is none once the service was taken down."""


def is_at(path: Path, spec: Spec) -> bool:
    """Whether the service runs, to that specification and in good health. Changes nothing."""
    status = client.status(path)
    if status is None or status["revision"] != spec.revision:
        return False
    replicas = status["replicas"]
    return len(replicas) == spec.replicas and all(replica["state"] == "healthy" for replica in replicas)


def deploy(path: Path, spec: Spec, *, port_setting: str) -> None:
    """Bring the service to `spec`, replica by replica; LocalError when what served before serves still.

    A service that never ran leaves no process behind when it fails.
    """
    try:
        outcome = client.apply(path, spec)
    except client.SupervisorError as error:
        raise LocalError(str(error)) from error
    if outcome["ok"]:
        write_private(path / DEPLOYED, json.dumps(spec.to_json()))
        return
    status = client.status(path)
    if not status or not status["replicas"]:
        client.stop(path)
    if outcome["error"] == "port-busy":
        raise LocalError(busy(spec.name, spec.port or 0, port_setting))
    raise NotServing(spec.name, outcome["reason"], outcome["tail"], str(path / "log"))


def take_down(path: Path) -> None:
    """Stop the service for good; its files stay."""
    client.stop(path)
    (path / DEPLOYED).unlink(missing_ok=True)


def deployed(path: Path) -> Spec | None:
    """What should be running in `path`, whether it does or not."""
    try:
        return Spec.from_json(json.loads((path / DEPLOYED).read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def port_for(path: Path, wanted: int | None, *, service: str, setting: str) -> int:
    """The port for a server: `wanted`, else the one that it has kept, else a free one.

    A kept port that somebody else took meanwhile gives way to a free one; a wanted one does not: LocalError.
    """
    port = ports.kept(path, wanted)
    if port == _served_port(path) or ports.is_free(port):
        return port
    if wanted:
        raise LocalError(busy(service, port, setting))
    ports.forget(path)
    return ports.kept(path, None)


def _served_port(path: Path) -> int | None:
    status = client.status(path)
    if not status or not status["spec"]:
        return None
    port: int | None = status["spec"]["health"]["port"]
    return port


def busy(service: str, port: int, setting: str) -> str:
    """The message for a port that somebody else has."""
    return (
        f"{service}: port {port} is in use by {ports.owner(port)}. End that process, or choose another port: "
        f"slipway config set {setting} {ports.free()}"
    )
