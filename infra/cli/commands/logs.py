"""`slipway logs`: what the local stack's services write."""

from __future__ import annotations

import argparse

from infra.cli.context import Context
from infra.cli.exits import OK
from infra.cli.subcommands import Subcommands

DEFAULT_TAIL = 100


def register(commands: Subcommands) -> None:
    parser = commands.add(
        "logs",
        run,
        help="show the local stack's logs",
        description="Show the last lines of the local stack's logs, of one service or of all.",
    )
    parser.add_argument("service", nargs="?", metavar="SERVICE", help="only this service (default: all)")
    parser.add_argument("--follow", "-f", action="store_true", help="go on as new lines come, until Ctrl-C")
    parser.add_argument(
        "--tail",
        "-n",
        type=_lines,
        default=DEFAULT_TAIL,
        metavar="N",
        help=f"lines to start with (default: {DEFAULT_TAIL})",
    )


def run(context: Context, args: argparse.Namespace) -> int:
    context.require_local("logs")
    from infra.local.logs import follow

    try:
        for line in follow(context.stack_dir, args.service, args.tail, args.follow):
            context.console.print(line.rstrip("\n"))
    except KeyboardInterrupt:
        # Ctrl-C is how one stops following; nothing was cut short.
        if not args.follow:
            raise
    return OK


def _lines(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number
