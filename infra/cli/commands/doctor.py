"""`slipway doctor`: what is wrong on this machine, and what to do about it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Protocol

from infra.cli.context import Context
from infra.cli.exits import FAILED, OK
from infra.cli.local import require_local
from infra.cli.validation import load_settings


class Finding(Protocol):
    """What a check found. `level` is ``ok``, ``warning`` or ``error``."""

    @property
    def level(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def detail(self) -> str: ...

    @property
    def remedy(self) -> str: ...


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "doctor",
        parents=[common],
        help="find out what is wrong on this machine",
        description="Check what the local stack needs of this machine, and what it runs, and say what to do about "
        "each problem. Exit code 1 when there is an error.",
    )
    parser.set_defaults(run=run)


def run(context: Context, args: argparse.Namespace) -> int:
    require_local(context, "doctor")
    from infra.local.doctor import check

    findings = list(check(context.stack_dir, load_settings(context.file)))
    context.console.print(render(findings, verbose=args.verbose))
    return FAILED if any(finding.level == "error" for finding in findings) else OK


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
