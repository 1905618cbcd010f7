"""Time what a newcomer waits for: a cold `make up`, one with nothing to do, and a rolling change.

Works on a fresh clone of HEAD in a temporary folder, with its own virtual environment and a free port, and removes
both at the end. The cold time includes the installation; whether packages come from pip's cache is the machine's
matter, so the run says what it found. Usage: ``make bench-up`` or ``python benchmarks/up.py --rounds 5``.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """A loopback TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Checkout:
    """A clone of HEAD whose commands are timed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("PULUMI_", "SLIPWAY_", "VIRTUAL_ENV"))
        }

    def run(self, command: Sequence[str]) -> float:
        """Seconds that the command took. Ends the benchmark with its output when it fails."""
        started = time.perf_counter()
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        elapsed = time.perf_counter() - started
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stdout}")
        return elapsed

    def configure(self, key: str, value: object) -> None:
        """Set a key of the local stack; not timed."""
        self.run([".venv/bin/slipway", "config", "set", key, str(value), "--stack", "local"])


def repeated(rounds: int, measure: Callable[[int], float]) -> list[float]:
    return [measure(number) for number in range(rounds)]


def row(name: str, seconds: Sequence[float], aim: str) -> str:
    median, low, high = statistics.median(seconds), min(seconds), max(seconds)
    return f"{name:<34} {median:7.2f} {low:7.2f} {high:7.2f} {len(seconds):4d}   {aim}".rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rounds", type=int, default=5, help="repetitions of the idle and the rolling case (default 5)"
    )
    rounds: int = parser.parse_args().rounds

    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), folder], check=True)
        checkout = Checkout(Path(folder))
        install = checkout.run(["make", "install"])
        checkout.configure("api.port", free_port())
        try:
            first = checkout.run(["make", "up"])
            idle = repeated(rounds, lambda _: checkout.run(["make", "up"]))

            def roll(number: int) -> float:
                checkout.configure("rotation.jwt", number + 2)
                # Steps in a row come too early for the tokens of the key that each drops: it says so.
                checkout.configure("rotation.jwt_min", number + 1)
                return checkout.run(["make", "up"])

            rolling = repeated(rounds, roll)
        finally:
            checkout.run([".venv/bin/slipway", "destroy", "--yes", "--delete-data", "--stack", "local"])

    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print(f"{'seconds, wall clock':<34} {'median':>7} {'min':>7} {'max':>7} {'runs':>4}   aim")
    print(row("cold: install and first up", [install + first], "60 with packages cached"))
    print(row("  of which install", [install], ""))
    print(row("  of which first up", [first], ""))
    print(row("nothing to do", idle, "2"))
    print(row("rolling change (rotation.jwt)", rolling, ""))


if __name__ == "__main__":
    main()
