"""Adds commands to the parser, each with the options that all have."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from infra.cli.context import Context

Run = Callable[[Context, argparse.Namespace], int]
"""What does a command; returns the exit code."""


class Subcommands:
    """The commands of `parser`."""

    def __init__(self, parser: argparse.ArgumentParser, *, title: str, metavar: str) -> None:
        self._parsers = parser.add_subparsers(title=title, metavar=metavar, required=True)
        self._common = argparse.ArgumentParser(add_help=False)
        self._common.add_argument("--stack", "-s", metavar="STACK", default=None, help="the stack (default: local)")
        self._common.add_argument("--verbose", "-v", action="store_true", default=False, help="show details")

    def add(self, name: str, run: Run, *, help: str, description: str) -> argparse.ArgumentParser:
        parser = self._parsers.add_parser(name, parents=[self._common], help=help, description=description)
        parser.set_defaults(run=run)
        return parser

    def add_group(self, name: str, *, help: str, description: str) -> Subcommands:
        """Add a command that only has actions of its own."""
        parser = self._parsers.add_parser(name, help=help, description=description)
        return Subcommands(parser, title="actions", metavar="ACTION")
