"""The grammar of the command line. Building it imports no engine, no settings and no SDK, so `--help` is instant."""

from __future__ import annotations

import argparse
from importlib.metadata import PackageNotFoundError, version

from infra.cli.commands import (
    config,
    destroy,
    doctor,
    logs,
    outputs,
    permissions,
    plan,
    preview,
    simulate,
    stacks,
    status,
    up,
)
from infra.cli.subcommands import Subcommands

_DESCRIPTION = "An API and queue workers over Postgres and Redis, on this machine or in a cloud."
EXIT_CODES = [
    ("0", "done"),
    ("1", "failed; the message says why and what to do"),
    ("2", "wrong usage"),
    ("130", "interrupted by Ctrl-C"),
    ("141", "the reader of the output has gone, as with `| head`"),
]
ENVIRONMENT = [
    ("SLIPWAY_STACK", "the stack when --stack is not given (else: local)"),
    ("SLIPWAY_ENGINE", "auto (the Pulumi CLI where it is on PATH, the default), inprocess or pulumi"),
    ("PULUMI_BACKEND_URL", "where the state is (else: .slipway in the project)"),
    ("PULUMI_CONFIG_PASSPHRASE", "what the stack's secrets open with; the local stack needs none"),
    ("PULUMI_CONFIG_PASSPHRASE_FILE", "a file with that passphrase"),
    ("NO_COLOR, CI", "plain lines instead of a live display"),
]


def _epilog() -> str:
    lines = ["exit codes:", *(f"  {code:<5}{meaning}" for code, meaning in EXIT_CODES)]
    lines += ["", "environment:"]
    for name, meaning in ENVIRONMENT:
        lines += [f"  {name}", f"       {meaning}"]
    return "\n".join(lines)


COMMANDS = (up, preview, destroy, plan, permissions, simulate, status, logs, outputs, config, stacks, doctor)
"""In the order in which the help lists them."""


def build_parser() -> argparse.ArgumentParser:
    """The parser; the chosen command's function is in `run`, and takes the context and the parsed arguments."""
    parser = argparse.ArgumentParser(
        prog="slipway", description=_DESCRIPTION, epilog=_epilog(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"slipway {_version()}")
    commands = Subcommands(parser, title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.register(commands)
    return parser


def _version() -> str:
    try:
        return version("slipway")
    except PackageNotFoundError:
        return "(not installed)"
