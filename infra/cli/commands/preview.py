"""`slipway preview`: what `up` would change."""

from __future__ import annotations

import argparse

from infra.cli import pulumi_cli
from infra.cli.context import Context
from infra.cli.subcommands import Subcommands


def register(commands: Subcommands) -> None:
    commands.add(
        "preview",
        run,
        help="show what `up` would change",
        description="Compare the stack's program with its state and show what `slipway up` would change, and why.",
    )


def run(context: Context, _: argparse.Namespace) -> int:
    if path := pulumi_cli.chosen_for_existing(context):
        return pulumi_cli.run(context, path, "preview")
    from infra.cli import deploy

    return deploy.preview(context)
