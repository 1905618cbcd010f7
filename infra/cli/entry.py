"""From the command line to an exit code."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

from infra.cli.console import Console
from infra.cli.context import Context
from infra.cli.exits import FAILED, INTERRUPTED, OK, USAGE, UsageError
from infra.cli.parser import build_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Only a fault of the program itself leaves a traceback."""
    # Before anything loads gRPC: it writes what its connections do to standard error, as when a hook's server closes.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    for stream in (sys.stdout, sys.stderr):
        # A terminal of another encoding shows a question mark for a tree's branch. It does not end an update half-way.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    args = build_parser().parse_args(argv)
    console = Console(verbose=args.verbose)
    context = Context(stack=args.stack or os.environ.get("SLIPWAY_STACK") or "local", console=console)
    try:
        code: int = args.run(context, args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        console.note("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted. Python would complain once more when it closes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except UsageError as error:
        console.error(str(error))
        return USAGE
    except Exception as error:  # noqa: BLE001 - the last place that can turn it into something a user can act on
        if getattr(error, "user_facing", False):
            console.error(str(error))
            if args.verbose:
                traceback.print_exception(error, file=console.err)
        else:
            _report_bug(console, error)
        return FAILED
    return code


def _report_bug(console: Console, error: Exception) -> None:
    text = "".join(traceback.format_exception(error))
    name = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="slipway-traceback-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
            name = file.name
    except OSError:
        console.note(text.rstrip())
    console.error(f"{type(error).__name__}: {error}")
    console.note(f"This is a bug in slipway. Please report it{f', with the traceback in {name}' if name else ''}.")
