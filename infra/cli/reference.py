"""Writes docs/reference/cli.md from the parser: ``python -m infra.cli.reference``."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from infra.cli.parser import ENVIRONMENT, EXIT_CODES, build_parser

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"

_HEAD = """\
# Command line

Everything about a stack is one command, `slipway`; `make install` puts it at `.venv/bin/slipway`. Run it anywhere
inside the project. Where the [Pulumi CLI](https://www.pulumi.com/docs/install/) is on PATH, `up`, `preview` and
`destroy` use it, on the same state; elsewhere the engine in process does their work for the local stack.
`python -m infra.cli.reference` writes this page.

Every command takes `--stack STACK` (`-s`; the default is the variable `SLIPWAY_STACK`, else `local`) and `--verbose`
(`-v`: details, and the traceback of an error).

## The Pulumi CLI by hand

Both engines keep one state, so either can go on where the other stopped, and their locks exclude each other. To run the
CLI yourself on the local stack, from the project's folder:

    export PULUMI_BACKEND_URL=file://$PWD/.slipway PULUMI_CONFIG_PASSPHRASE=local
    pulumi preview --stack local
"""
_WIDTH: Final = 120


def page() -> str:
    """The whole page."""
    variables = [(f"`{name}`", text) for name, text in ENVIRONMENT]
    codes = _table(("code", "meaning"), EXIT_CODES, title="Exit codes")
    environment = _table(("variable", "meaning"), variables, title="Environment")
    commands = (_section(command, names) for names, command in _commands(build_parser(), ()))
    return "\n".join([_HEAD, codes, environment, *commands])


def _commands(
    parser: argparse.ArgumentParser, names: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Every command that does something, in the order of the help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from _commands(command, (*names, name))
            return
    yield names, parser


def _section(command: argparse.ArgumentParser, names: tuple[str, ...]) -> str:
    own = [action for action in command._actions if not {"-h", "--stack", "--verbose"} & set(action.option_strings)]
    usage = " ".join(["slipway", *names, *(_usage(action) for action in own)])
    text = textwrap.fill(str(command.description), _WIDTH)
    lines = [f"## slipway {' '.join(names)}", "", f"    {usage}", "", text, ""]
    described = [(f"`{_name(action)}`", str(action.help)) for action in own if action.help]
    return "\n".join(lines) + (f"\n{_table(('argument', 'meaning'), described)}" if described else "")


def _usage(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"[{action.metavar}]" if action.nargs == "?" else str(action.metavar)
    return f"[{_name(action).split(', ')[0]}]"


def _name(action: argparse.Action) -> str:
    if not action.option_strings:
        return str(action.metavar)
    value = action.metavar or ("|".join(action.choices) if action.choices else "")
    shown = sorted(action.option_strings, key=len, reverse=True)
    return ", ".join(f"{option} {value}".strip() for option in shown[:1]) + "".join(f", {short}" for short in shown[1:])


def _table(head: tuple[str, str], rows: list[tuple[str, str]], *, title: str = "") -> str:
    lines = [f"## {title}", ""] if title else []
    for row in (head, ("---", "---"), *rows):
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
