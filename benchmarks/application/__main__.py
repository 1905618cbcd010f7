"""`make bench`: measure the application against its alternatives and write docs/benchmarks.

`python -m benchmarks.application [all|worker|accept|start]`. With --quick one short round each, printed only: to see
that it runs, not to be quoted.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.application import acceptance, chart, crash, facts, loss, report, servers, start, worker_alone
from benchmarks.application.processes import ROOT, BenchmarkError
from infra.local.errors import LocalError

OUTPUT = ROOT / "docs" / "benchmarks"
_RESULTS = "results.json"
_QUIET = 1.0


def main() -> int:
    given = _arguments()
    started = time.monotonic()
    # By default it would end this process and leave the servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
            # The database server may run as another user.
            Path(folder).chmod(0o755)
            with servers.running(Path(folder)) as running:
                found = _measure(given, running)
    except (BenchmarkError, LocalError) as error:
        print(error, file=sys.stderr)
        return 1
    results = {**({} if given.quick else _stored(given.output)), **found}
    print(f"\n{report.render(found)}")
    print(f"Measured in {(time.monotonic() - started) / 60:.0f} minutes.")
    if given.quick:
        print("A quick run: docs/benchmarks stays as it is.")
    else:
        _write(given.output, results)
    return 0


def _measure(given: argparse.Namespace, running: servers.Servers) -> dict[str, Any]:
    rounds = 1 if given.quick else given.rounds
    seconds = 1.0 if given.quick else 3.0
    known = facts.gather(running.node)
    if (busy := float(known["load before"])) > _QUIET:
        print(f"The machine is busy (load {busy}): the figures will say little.", file=sys.stderr)
    plan = (
        acceptance.Plan(rounds=1, requests=600, seconds=4.0)
        if given.quick
        else acceptance.Plan(rounds=rounds, rate=given.rate)
    )
    parts: dict[str, dict[str, Callable[[], dict[str, Any]]]] = {
        "worker": {
            "worker": lambda: _section(worker_alone.measure(running, rounds=rounds, seconds=seconds)),
            "loss": lambda: _section(loss.measure(running)),
        },
        "accept": {
            "acceptance": lambda: {
                "plan": asdict(plan),
                "capacity": acceptance.capacity(running, plan),
                **_section(acceptance.measure(running, plan)),
            },
            "crash": lambda: _section(crash.measure(running)),
        },
        "start": {"start": lambda: _section(start.measure(running, rounds=rounds))},
    }
    wanted = parts if given.part == "all" else {given.part: parts[given.part]}
    return {name: {"facts": known, **measure()} for sections in wanted.values() for name, measure in sections.items()}


def _section(runs: list[Any]) -> dict[str, Any]:
    return {"runs": [asdict(run) for run in runs]}


def _stored(folder: Path) -> dict[str, Any]:
    """What earlier runs of the other parts found."""
    try:
        stored: dict[str, Any] = json.loads((folder / _RESULTS).read_text())
    except FileNotFoundError:
        return {}
    return stored


def _write(folder: Path, results: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    order = ("worker", "loss", "acceptance", "crash", "start")
    results = {name: results[name] for name in order if name in results}
    (folder / _RESULTS).write_text(json.dumps(results, indent=1) + "\n")
    (folder / "README.md").write_text(report.render(results))
    (folder / "chart.svg").write_text(chart.render(report.panels(results)))
    print(f"Written to {folder}.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="all", choices=("all", "worker", "accept", "start"))
    parser.add_argument("--quick", action="store_true", help="one short round, nothing written")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of what is timed (default 5)")
    parser.add_argument("--rate", type=float, default=150.0, help="requests a second of the steady load (default 150)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the report (default docs/benchmarks)")
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error("--rounds must be at least 1")
    if given.rate <= 0:
        parser.error("--rate must be above 0")
    return given


if __name__ == "__main__":
    sys.exit(main())
