"""`slipway destroy`: stop and remove everything a stack runs."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Final

from infra.cli import pulumi_cli
from infra.cli.commands.up import require_consent
from infra.cli.context import Context
from infra.cli.exits import OK, CommandError
from infra.cli.subcommands import Subcommands
from infra.local.paths import DELETE_DATA

GUARDED: Final = ("aws",)
"""Targets whose resources ask the program before they are deleted: the CLI must run it for a destroy too."""


def register(commands: Subcommands) -> None:
    parser = commands.add(
        "destroy",
        run,
        help="stop and remove what a stack runs; keeps the local stack's data",
        description="Remove all of the stack's resources, in reverse order. The local stack's databases stay on the "
        "disk, and the next `slipway up` finds them, unless --delete-data is given.",
    )
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    parser.add_argument(
        "--delete-data", action="store_true", help="delete the local stack's databases, queues and logs as well"
    )


def run(context: Context, args: argparse.Namespace) -> int:
    require_consent(context, "destroy", yes=args.yes)
    if path := pulumi_cli.chosen_for_existing(context):
        options = [*(["--yes"] if args.yes else []), *(["--run-program"] if context.target in GUARDED else [])]
        code = pulumi_cli.run(context, path, "destroy", options, delete_data=args.delete_data)
        if code == OK:
            context.console.note(
                f"Should you run the `pulumi stack rm` that the CLI proposes, add --preserve-config: without it "
                f"{context.file.path.name} is deleted as well."
            )
    else:
        from infra.cli import deploy

        with data_deletion(args.delete_data):
            code = deploy.change(context, "destroy", confirmed=args.yes)
    if code == OK and context.target == "local":
        if args.delete_data:
            delete_what_is_left(context)
            context.console.print("Everything is stopped, and the data is deleted.")
        elif not context.stack_dir.exists():
            context.console.print("Everything is stopped. There is no data.")
        else:
            context.console.print(
                f"Everything is stopped. The data stays in {context.stack_dir}; `slipway up` continues with it."
            )
    return code


@contextlib.contextmanager
def data_deletion(delete: bool) -> Iterator[None]:
    """Set, for the local target's providers in this process, whether the data is deleted too."""
    before = os.environ.get(DELETE_DATA)
    os.environ[DELETE_DATA] = "1" if delete else "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[DELETE_DATA]
        else:
            os.environ[DELETE_DATA] = before


def delete_what_is_left(context: Context) -> None:
    """Delete the stack's folder: after an earlier `destroy` no resource is left that could delete its data.

    Raises CommandError when something in it still runs, or cannot be deleted.
    """
    from infra.local.status import collect

    folder = context.stack_dir
    if alive := [service.name for service in collect(folder)]:
        raise CommandError(f"{folder} was not deleted: {', '.join(alive)} still runs there (see `slipway doctor`)")
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise CommandError(f"cannot delete {error.filename or folder}: {error.strerror}; delete it by hand") from error
