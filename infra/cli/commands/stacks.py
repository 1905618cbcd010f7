"""`slipway stacks`: the stacks of the project."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from infra.cli.context import Context
from infra.cli.exits import OK
from infra.cli.subcommands import Subcommands


def register(commands: Subcommands) -> None:
    commands.add(
        "stacks",
        run,
        help="list the stacks",
        description="List the project's stacks: where each runs, and whether it has state in this project's backend.",
    )


def run(context: Context, _: argparse.Namespace) -> int:
    names = context.project.stacks()
    if not names:
        context.console.note(f"no stacks: {context.project.stack_files} has no Pulumi.<stack>.yaml")
        return OK
    context.console.table(("STACK", "TARGET", "RESOURCES"), [_row(context, name) for name in names])
    return OK


def _row(context: Context, name: str) -> tuple[str, str, str]:
    one = Context(stack=name, console=context.console, cwd=context.cwd, environ=context.environ)
    return (name, _or_unreadable(lambda: one.target), _or_unreadable(lambda: _resources(one)))


def _resources(context: Context) -> str:
    if not context.backend.exists(context.project.name, context.stack):
        return "none yet"
    snapshot = context.backend.load(context.project.name, context.stack, None)
    # The stack itself and default providers are bookkeeping, not something that runs.
    return str(sum(not r.type.startswith(("pulumi:pulumi:", "pulumi:providers:")) for r in snapshot.resources))


def _or_unreadable(read: Callable[[], str]) -> str:
    """What `read` returns, or a word for why it cannot: one broken stack must not hide the others."""
    try:
        return read()
    except Exception as error:
        if getattr(error, "user_facing", False):
            return "unreadable"
        raise
