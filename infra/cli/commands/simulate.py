"""`slipway simulate`: the scaling of a stack under a load, before any user has to try it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.cli.context import Context
from infra.cli.exits import OK, CommandError
from infra.cli.subcommands import Subcommands
from infra.cli.validation import load_settings

if TYPE_CHECKING:
    from infra.settings import Settings
    from infra.simulation.model import ScaledService
    from infra.simulation.work import Assumptions


def register(commands: Subcommands) -> None:
    parser = commands.add(
        "simulate",
        run,
        help="play a load against the scaling policies of a stack on AWS",
        description="Take the exact scaling policies and alarms from the plan of a stack on AWS, play a load against "
        "them, and show how many tasks run, how long users wait and what it costs over time. Loads: steady:RATE, "
        "ramp:FROM-TO, spike:BASE-PEAK, day:LOW-HIGH (arrivals a second), one (a single arrival), or a file FILE.csv "
        "of minute,rate. What the plan does not know, such as how long a job takes, is assumed, and can be said.",
    )
    parser.add_argument("service", metavar="SERVICE", nargs="?", help="only this service (default: all)")
    parser.add_argument("--load", metavar="LOAD", default="spike:1-50", help="the load (default: spike:1-50)")
    for option, kind, default, meaning in _TIMES:
        parser.add_argument(option, metavar="TIME", type=kind, default=default, help=f"{meaning} (default: {default})")
    parser.add_argument("--svg", metavar="FILE", help="write a plot as well; with several services, one file for each")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text (default) or json")


def run(context: Context, args: argparse.Namespace) -> int:
    from infra.engine.plan import plan
    from infra.simulation.from_plan import services
    from infra.simulation.load import parse
    from infra.simulation.plot import plot
    from infra.simulation.report import report, to_json
    from infra.simulation.simulator import simulate

    if context.target != "aws":
        raise CommandError(
            f"stack {context.stack!r} is on target {context.target}, and scaling is simulated for aws only: "
            "name such a stack with --stack"
        )
    load = parse(args.load, args.duration)
    found = services(plan(project=context.project, stack=context.stack, config=context.file.program_config(None)))
    chosen = [one for one in found if args.service in (None, one.name, one.name.removesuffix("-service"))]
    if not chosen:
        names = ", ".join(one.name.removesuffix("-service") for one in found) or "none"
        raise CommandError(f"stack {context.stack!r} has no service {args.service!r}; it has {names}")
    settings = load_settings(context.file)
    results = [
        simulate(service, load, duration=args.duration, assumptions=_assumptions(args, service, settings))
        for service in chosen
    ]
    if args.format == "json":
        context.console.print(json.dumps([to_json(result) for result in results], indent=2))
    else:
        context.console.print("\n\n\n".join(report(result) for result in results))
    for result in results if args.svg else ():
        path = Path(args.svg)
        if len(results) > 1:
            path = path.with_stem(f"{path.stem}-{result.service.name}")
        try:
            path.write_text(plot(result), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error.strerror}") from error
        context.console.note(f"wrote {path}")
    return OK


def _assumptions(args: argparse.Namespace, service: ScaledService, settings: Settings) -> Assumptions:
    from infra.simulation.work import Assumptions

    groups = [group for _, group in settings.worker_groups if group.queue == service.queue]
    return Assumptions(
        start_up=args.start_up,
        job=args.job,
        request_cpu=args.request_cpu,
        concurrency=groups[0].concurrency if groups else settings.worker.concurrency,
    )


def _seconds(text: str) -> float:
    """A time span as a command line's argument; at least a millisecond."""
    from infra.settings.units import parse_duration

    try:
        seconds = parse_duration(text).total_seconds()
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: it must be above 0")
    return seconds


def _duration(text: str) -> float:
    seconds = _seconds(text)
    if not 600 <= seconds <= 7 * 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is out of range: simulate 10m to 7d")
    return seconds


_TIMES: Final = (
    ("--duration", _duration, "2h", "how long to play it"),
    ("--job", _seconds, "2s", "time that one job takes"),
    ("--request-cpu", _seconds, "10ms", "processor time of one request"),
    ("--start-up", _seconds, "60s", "time until a new task takes work"),
)
