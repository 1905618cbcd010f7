"""`slipway doctor`: what is wrong on this machine, and what to do about it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from infra.cli.context import Context
from infra.cli.exits import FAILED, OK
from infra.cli.subcommands import Subcommands
from infra.cli.validation import load_settings

if TYPE_CHECKING:
    from infra.local.doctor import Finding


def register(commands: Subcommands) -> None:
    commands.add(
        "doctor",
        run,
        help="find out what is wrong on this machine",
        description="Check what the local stack needs of this machine, and what it runs, and say what to do about "
        "each problem. Exit code 1 when there is an error.",
    )


def run(context: Context, args: argparse.Namespace) -> int:
    context.require_local("doctor")
    from infra.local.doctor import check

    findings = [*check(context.stack_dir, load_settings(context.file)), _state(context)]
    context.console.print(render(findings, verbose=args.verbose))
    return FAILED if any(finding.level == "error" for finding in findings) else OK


def _state(context: Context) -> Finding:
    """Whether the stack's state can be read, and written at the next `up`."""
    from infra.engine.errors import EngineError
    from infra.local.doctor import Finding

    backend, project = context.backend, context.project.name
    file = backend.state_file(project, context.stack)
    try:
        backend.load(project, context.stack, None)
    except EngineError as error:
        return Finding(
            level="error", title="the state cannot be read", detail=str(error), remedy=f"mend or remove {file}"
        )
    place = next(folder for folder in (file, *file.parents) if folder.exists())
    if not os.access(place, os.W_OK):
        remedy = f"give yourself the right to write there: chown -R $(id -un) {backend.root}"
        return Finding(level="error", title="the state cannot be written", detail=str(place), remedy=remedy)
    return Finding(level="ok", title="the state can be read and written")


def render(findings: Iterable[Finding], *, verbose: bool = False) -> str:
    """The findings, worst first; what is in order as one line, or a line each with `verbose`."""
    order = {"error": 0, "warning": 1, "ok": 2}
    findings = sorted(findings, key=lambda finding: order.get(finding.level, 1))
    lines = []
    for finding in findings:
        if finding.level == "ok" and not verbose:
            continue
        lines.append(f"{finding.level}: {finding.title}")
        lines += [f"  {line}" for line in finding.detail.splitlines()]
        lines += [f"  -> {line}" for line in finding.remedy.splitlines()]
    bad = sum(finding.level != "ok" for finding in findings)
    lines.append(f"{len(findings)} checks, {bad} with a finding" if bad else f"{len(findings)} checks, all in order")
    return "\n".join(lines)
