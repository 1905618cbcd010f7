"""Time `slipway plan` of each stack, beside an interpreter that only imports the Pulumi SDK.

The runs alternate, so that a machine whose speed drifts slows both alike; the ratio is what to compare between
machines.
Usage: ``make bench-plan`` or ``python benchmarks/plan.py --rounds 9``.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STACKS = ("local", "staging", "prod")


def seconds(command: Sequence[str]) -> float:
    """Wall clock of one run, with neither credentials nor settings of the caller. Ends the benchmark on a failure."""
    environment = {"PATH": os.defpath, "HOME": "/nonexistent"}
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    elapsed = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stderr}")
    return elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each command (default 5)")
    rounds: int = parser.parse_args().rounds
    plan = [sys.executable, "-m", "infra.cli", "plan", "--format", "json", "--stack"]
    commands = {"import pulumi": [sys.executable, "-c", "import pulumi"]}
    commands |= {f"plan {stack}": [*plan, stack] for stack in STACKS}
    for command in commands.values():
        seconds(command)  # writes the byte code, which is not what is timed
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(seconds(command))

    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print(f"{'seconds, wall clock':<22} {'median':>7} {'min':>7} {'max':>7} {'runs':>4} {'ratio':>6}")
    base = statistics.median(times["import pulumi"])
    for name, found in times.items():
        median = statistics.median(found)
        print(f"{name:<22} {median:7.2f} {min(found):7.2f} {max(found):7.2f} {len(found):4d} {median / base:6.1f}")


if __name__ == "__main__":
    main()
