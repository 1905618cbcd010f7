"""`slipway outputs`: what the stack's last update gave."""

from __future__ import annotations

import argparse
import json
from typing import Any

from infra.cli import pulumi_cli
from infra.cli.context import Context
from infra.cli.exits import OK, CommandError
from infra.cli.subcommands import Subcommands


def register(commands: Subcommands) -> None:
    parser = commands.add(
        "outputs",
        run,
        help="print the stack's outputs",
        description="Print the outputs of the stack's last update. Secrets show as [secret] unless asked for.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="print only this output's value")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.add_argument(
        "--show-secrets", action="store_true", help="print secrets in plain text (needs the passphrase)"
    )


def run(context: Context, args: argparse.Namespace) -> int:
    outputs = read(context, show_secrets=args.show_secrets)
    if args.name is not None:
        _print_one(context, args.name, outputs, as_json=args.json)
    elif args.json:
        context.console.print(json.dumps(outputs, indent=2, sort_keys=True))
    elif outputs:
        context.console.table(("OUTPUT", "VALUE"), [(name, text(value)) for name, value in sorted(outputs.items())])
    else:
        context.console.note(
            f"stack {context.stack!r} has no outputs: bring it up with `slipway up --stack {context.stack}`"
        )
    return OK


def read(context: Context, *, show_secrets: bool = False) -> dict[str, Any]:
    """The stack's outputs in JSON types, secrets masked or, when asked for, opened."""
    if pulumi_cli.keeps_state(context):
        return pulumi_cli.outputs(context, show_secrets=show_secrets)
    context.file  # noqa: B018 - an unknown stack is reported as such, not as one without outputs
    snapshot = context.backend.load(context.project.name, context.stack, context.secrets if show_secrets else None)
    return {name: _plain(value, show_secrets=show_secrets) for name, value in snapshot.outputs.items()}


def text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _print_one(context: Context, name: str, outputs: dict[str, Any], *, as_json: bool) -> None:
    if name not in outputs:
        there = ", ".join(sorted(outputs)) or "none"
        raise CommandError(f"stack {context.stack!r} has no output {name!r}. Outputs there are: {there}")
    context.console.print(json.dumps(outputs[name]) if as_json else text(outputs[name]))


def _plain(value: Any, *, show_secrets: bool) -> Any:
    from infra.engine.values import UNKNOWN, Secret

    if isinstance(value, Secret):
        return _plain(value.value, show_secrets=True) if show_secrets else "[secret]"
    if value is UNKNOWN:
        return "[unknown]"
    if isinstance(value, dict):
        return {key: _plain(item, show_secrets=show_secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, show_secrets=show_secrets) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
