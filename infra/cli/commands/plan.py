"""`slipway plan`: the resources of a stack, from its program alone."""

from __future__ import annotations

import argparse
import atexit
import gc
import json
from typing import TYPE_CHECKING

from infra.cli.context import Context
from infra.cli.exits import OK
from infra.cli.subcommands import Subcommands

if TYPE_CHECKING:
    from infra.engine.plan import Plan


def register(commands: Subcommands) -> None:
    parser = commands.add(
        "plan",
        run,
        help="show what a stack is made of; needs no credentials, network or passphrase",
        description="Run the stack's program and show every resource that it declares. No provider checks the inputs "
        "and no state is compared: that is what `slipway preview` does.",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text (default) or json")


def run(context: Context, args: argparse.Namespace) -> int:
    from infra.engine.plan import plan

    # A plan of a cloud stack holds a million objects. Python would search them for cycles on its way out.
    atexit.register(gc.freeze)
    # Blinded config, so that nobody needs the passphrase: a secret is a secret in the plan whatever its value.
    planned = plan(project=context.project, stack=context.stack, config=context.file.program_config(None))
    for severity, message in planned.messages:
        if severity in ("warning", "error"):
            context.console.note(f"{severity}: {message}")
    if planned.invokes:
        context.console.note(
            f"warning: the program calls {', '.join(planned.invokes)}: a preview of it needs the provider's credentials"
        )
    if args.format == "json":
        context.console.print(json.dumps(planned.to_json(), indent=2))
    else:
        context.console.print(render(planned))
    return OK


def render(planned: Plan) -> str:
    """The plan as a tree, a line a resource, children under their parents."""
    document = planned.to_json()
    children: dict[str | None, list[dict[str, object]]] = {}
    known = {resource["urn"] for resource in document["resources"]}
    for resource in document["resources"]:
        parent = resource["parent"] if resource["parent"] in known else None
        children.setdefault(parent, []).append(resource)
    lines: list[str] = []

    def walk(parent: str | None, depth: int) -> None:
        for resource in children.get(parent, []):
            lines.append(f"{'  ' * depth}{resource['name']}  {resource['type']}")
            walk(str(resource["urn"]), depth + 1)

    walk(None, 0)
    lines += ["", f"{len(document['resources'])} resources"]
    if document["outputs"]:
        lines.append("Outputs:")
        lines += [
            f"  {name}: {value if isinstance(value, str) else json.dumps(value)}"
            for name, value in sorted(document["outputs"].items())
        ]
    return "\n".join(lines)
