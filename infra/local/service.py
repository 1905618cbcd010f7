"""The application's long-running processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from infra.component import ComponentArgs
from infra.contracts import CommandHealth, HttpHealth, Image, SecretRef, ServiceSpec
from infra.local.component import LocalComponent
from infra.local.ports import LOOPBACK
from infra.local.resources import ServiceResource

HEARTBEAT = "HEALTH_FILE"
"""The variable that names a worker's heartbeat file; here each replica gets a file of its own."""
_PROCESS_START = 30
"""Seconds added to the health check's own start period before a replica that is not ready has failed."""


@dataclass(frozen=True, kw_only=True)
class ServiceArgs(ComponentArgs):
    """`secrets` must hold every variable that `spec` asks for; `after` is what must be done before a replica starts."""

    image: Image
    spec: ServiceSpec
    secrets: Mapping[str, SecretRef]
    after: pulumi.Resource | None = None


class _Service(LocalComponent):
    def __init__(self, kind: str, name: str, args: ServiceArgs, opts: pulumi.ResourceOptions | None) -> None:
        super().__init__(kind, name, opts, args.transforms)
        spec = args.spec
        self.resource = self.inner(
            "service",
            ServiceResource,
            {
                "folder": self.folder(spec.name),
                "service": spec.name,
                "image": args.image.reference,
                "command": list(spec.command),
                "environment": dict(spec.environment),
                "secrets": bind(spec.secrets, args.secrets),
                "health": _health(spec),
                "replicas": spec.replicas,
                "port": spec.port,
                "stop_timeout": spec.stop_timeout,
                # In mode "all" the API's replica is a worker too.
                "heartbeat": HEARTBEAT if spec.queue else None,
            },
            depends_on=args.after,
        )


class ApiService(_Service):
    """The API: replicas that share one listening socket on 127.0.0.1.

    Creates: a supervisor that holds the socket, and its replicas; logs, and files with secrets that only the replicas'
    user can read, in ``.slipway/<stack>/api``. Costs: about 100 MB of memory a replica. Exports: `url`. Replaces:
    nothing. Any change of code, setting or secret exchanges the replicas one by one with no request refused; a version
    that does not get healthy is taken back and fails the update. Only a changed port has a moment without a listener.
    """

    url: pulumi.Output[str]

    def __init__(self, name: str, args: ServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ApiService", name, args, opts)
        # From an input, which a preview knows; the resource's own `url` is unknown in the preview of every change.
        self.url = self.resource.port.apply(lambda port: f"http://{LOOPBACK}:{int(port)}")
        self.finish({"url": self.url})


class WorkerService(_Service):
    """The workers of one queue.

    Creates: a supervisor and its replicas; logs in ``.slipway/<stack>/<name>``. Costs: about 80 MB of memory a replica.
    Exports: nothing. Replaces: nothing; changes exchange the replicas one by one, and each finishes the jobs that it
    holds within its stop timeout.
    """

    def __init__(self, name: str, args: ServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("WorkerService", name, args, opts)
        self.finish({})


def bind(names: tuple[str, ...], secrets: Mapping[str, SecretRef]) -> dict[str, pulumi.Output[str]]:
    """The value of each secret variable; KeyError for one that nobody gives."""
    return {name: secrets[name].value for name in names}


def _health(spec: ServiceSpec) -> dict[str, Any]:
    check = spec.health
    times = {
        "interval": check.interval,
        "timeout": check.timeout,
        "retries": check.retries,
        "startup": check.start_period + _PROCESS_START,
    }
    match check:
        case HttpHealth():
            ready = spec.readiness.path if spec.readiness else check.path
            return {"kind": "http", "path": check.path, "ready_path": ready, **times}
        case CommandHealth():
            return {"kind": "command", "command": list(check.command), **times}
