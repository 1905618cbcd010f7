"""From the command line to an exit code."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

from infra.cli.console import Console, abandon
from infra.cli.context import Context
from infra.cli.exits import BROKEN_PIPE, FAILED, INTERRUPTED, USAGE, OutputError, UsageError
from infra.cli.parser import build_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Only a fault of the program itself leaves a traceback."""
    # Before anything loads gRPC: it writes what its connections do to standard error, as when a hook's server closes.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    _open_streams()
    console = Console()
    try:
        return _run(console, argv)
    except KeyboardInterrupt:
        console.note("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted.
        abandon(sys.stdout)
        return BROKEN_PIPE
    except UsageError as error:
        console.error(str(error))
        return USAGE
    except Exception as error:  # noqa: BLE001 - the last place that can turn it into something a user can act on
        if isinstance(error, OutputError):
            abandon(sys.stdout)
        if getattr(error, "user_facing", False):
            console.error(str(error))
            if console.verbose:
                traceback.print_exception(error, file=console.err)
        else:
            _report_bug(console, error)
        return FAILED


def _run(console: Console, argv: Sequence[str] | None) -> int:
    try:
        args = build_parser().parse_args(argv)
    except SystemExit:
        # `--help` and `--version`, whose text may still have to be written.
        console.flush()
        raise
    console.verbose = args.verbose
    code: int = args.run(Context(stack=_stack(args.stack), console=console), args)
    console.flush()
    return code


def _stack(option: str | None) -> str:
    """The stack to work on; raises UsageError for an empty name.

    In scripts it stands for a variable that has no value, and `slipway destroy --stack "$STACK"` took the local stack.
    """
    if option == "":
        raise UsageError("--stack has no name: write one, or leave the option out for the stack local")
    given = os.environ.get("SLIPWAY_STACK")
    if option is None and given == "":
        raise UsageError("SLIPWAY_STACK is empty: set it to a stack's name, or unset it for the stack local")
    return option or given or "local"


def _open_streams() -> None:
    """Have all three standard streams open, and none of them end the command half-way."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            # Closed by the caller (`>&-`). The next file to be opened would get its number, and what is printed.
            descriptor = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A terminal of another encoding shows a question mark for a tree's branch. It does not end an update half-way.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


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
