"""`slipway status`: what the local stack runs right now."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.cli.context import Context
from infra.cli.exits import FAILED, OK
from infra.cli.subcommands import Subcommands

if TYPE_CHECKING:
    from infra.local.status import ServiceStatus

HEADERS: Final = ("SERVICE", "STATE", "REPLICAS", "SINCE", "RESTARTS", "ADDRESS", "LOG")
GOOD: Final = frozenset({"healthy", "rolling"})
"""The states in which a service does what it should."""


def register(commands: Subcommands) -> None:
    commands.add(
        "status",
        run,
        help="show what the local stack runs right now",
        description="Show each service of the local stack: its state, replicas, address and log. "
        "Exit code 1 when something that should run does not.",
    )


def run(context: Context, _: argparse.Namespace) -> int:
    context.require_local("status")
    from infra.local.status import collect

    services = collect(context.stack_dir)
    if not services:
        context.console.note(f"stack {context.stack!r} is not up: start it with `slipway up`")
        return OK
    context.console.table(HEADERS, rows(services, now=datetime.now(UTC), root=context.project.root))
    for service in services:
        for number, replica in enumerate(service.replicas, start=1):
            if replica.reason:
                context.console.print(f"{service.name} {number}: {replica.reason}")
    return OK if all(service.state in GOOD for service in services) else FAILED


def rows(services: Sequence[ServiceStatus], *, now: datetime, root: Path) -> list[tuple[str, ...]]:
    """A row a service, and below a service of several replicas a row each. Paths are shown from `root` on."""
    table: list[tuple[str, ...]] = []
    for service in services:
        replicas = service.replicas
        good = sum(replica.state in GOOD for replica in replicas)
        single = replicas[0] if len(replicas) == 1 else None
        table.append(
            (
                service.name,
                service.state,
                f"{good}/{len(replicas)}" if replicas else "",
                age(single.since, now=now) if single else "",
                str(sum(replica.restarts for replica in replicas)) if replicas else "",
                service.url or (f"port {service.port}" if service.port else ""),
                str(service.log.relative_to(root) if service.log.is_relative_to(root) else service.log),
            )
        )
        if single is None:
            table += [
                (
                    f"  {number}",
                    replica.state,
                    f"pid {replica.pid}" if replica.pid else "",
                    age(replica.since, now=now),
                    str(replica.restarts),
                    "",
                    "",
                )
                for number, replica in enumerate(replicas, start=1)
            ]
    return table


def age(since: datetime | float | None, *, now: datetime) -> str:
    """How long ago, in the two largest units: ``3d 4h``, ``12m 5s``. `since` as a number is seconds since 1970."""
    if since is None:
        return ""
    moment = since if isinstance(since, datetime) else datetime.fromtimestamp(since, UTC)
    seconds = max(0, int((now - moment).total_seconds()))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "now"
