"""`slipway up`: bring a stack to what its program and config say."""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import Any, Final

from infra.cli import pulumi_cli
from infra.cli.context import Context
from infra.cli.exits import OK, UsageError
from infra.cli.subcommands import Subcommands

_GIT_TIMEOUT: Final = 10.0
"""Seconds for a file out of git."""


def register(commands: Subcommands) -> None:
    parser = commands.add(
        "up",
        run,
        help="bring a stack up, or to what its config says now",
        description="Bring the stack up, or change what differs from its program and config. On a terminal it shows "
        "the changes and asks; with --yes, which scripts need, it does not. Run again, it changes nothing.",
    )
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")


def run(context: Context, args: argparse.Namespace) -> int:
    require_consent(context, "up", yes=args.yes)
    restore_stack_file(context)
    first = not _outputs(context)
    if path := pulumi_cli.chosen(context):
        code = pulumi_cli.run(context, path, "up", ["--yes"] if args.yes else [])
    else:
        from infra.cli import deploy

        code = deploy.change(context, "up", confirmed=args.yes)
    if code == OK:
        _print_next_steps(context, first=first)
    return code


def require_consent(context: Context, command: str, *, yes: bool) -> None:
    """Raise UsageError where the command would have to ask and nobody is there."""
    if not yes and not context.console.interactive:
        raise UsageError(f"nobody to ask: there is no terminal here. Say yes beforehand: slipway {command} --yes")


def restore_stack_file(context: Context) -> None:
    """Bring back a committed `Pulumi.local.yaml` that is gone: the CLI proposes `pulumi stack rm` after each destroy,
    and that deletes it. What git does not have stays gone, and is reported as an unknown stack."""
    from infra.engine.project.location import LOCAL_STACK
    from infra.engine.state.files import write_atomically

    path = context.project.stack_file(LOCAL_STACK)
    if context.stack != LOCAL_STACK or path.exists():
        return
    try:
        committed = subprocess.run(
            ["git", "show", f"HEAD:./{path.name}"],
            cwd=path.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_TIMEOUT,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return
    write_atomically(path, committed, mode=0o644)
    context.console.note(f"{path.name} was gone, and is taken back from the last commit")


def _print_next_steps(context: Context, *, first: bool) -> None:
    from infra.cli.hints import command_name, next_steps

    command = command_name(sys.argv[0])
    outputs = _outputs(context)
    if text := next_steps(stack=context.stack, target=context.target, outputs=outputs, first=first, command=command):
        context.console.print(text)


def _outputs(context: Context) -> dict[str, Any]:
    """The local stack's outputs. For others a hint is not worth the time that their backend takes to answer."""
    from infra.cli.commands.outputs import read

    return read(context) if context.target == "local" and not pulumi_cli.keeps_state(context) else {}
