"""`slipway status`: what the local stack runs right now."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from infra.cli.context import Context
from infra.cli.exits import FAILED, OK
from infra.cli.local import require_local
from infra.cli.services import GOOD, HEADERS, reasons, rows


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "status",
        parents=[common],
        help="show what the local stack runs right now",
        description="Show each service of the local stack: its state, replicas, address and log. "
        "Exit code 1 when something that should run does not.",
    )
    parser.set_defaults(run=run)


def run(context: Context, _: argparse.Namespace) -> int:
    require_local(context, "status")
    from infra.local.status import collect

    services = collect(context.stack_dir)
    if not services:
        context.console.note(f"stack {context.stack!r} is not up: start it with `slipway up`")
        return OK
    context.console.table(HEADERS, rows(services, now=datetime.now(UTC), root=context.project.root))
    for line in reasons(services):
        context.console.print(line)
    return OK if all(service.state in GOOD for service in services) else FAILED
