"""What a reader needs to know of the machine and the versions to judge the figures."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.application.processes import ROOT
from benchmarks.application.servers import PEER
from infra.local import binaries

_PYTHON = ("starlette", "uvicorn", "uvloop", "sqlalchemy", "psycopg", "rq", "redis", "dramatiq")


def gather(node: str) -> dict[str, str]:
    """Name to value, in the order in which they are shown."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _line(["git", "rev-parse", "--short", "HEAD"]) + (" with changes" if _is_changed() else ""),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.platform(),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "disk": f"{_syncs():.0f} fdatasync/s of 8 KiB",
        "servers": f"{_server(binaries.postgres('postgres'))}; {_server(binaries.valkey())}",
        "Python": _python(),
        "Node": _node(node),
    }


def _line(command: list[str]) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _is_changed() -> bool:
    return bool(_line(["git", "status", "--porcelain", "--untracked-files=no"]))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _server(program: Path) -> str:
    words = _line([str(program), "--version"]).replace("(PostgreSQL) ", "").split()
    return " ".join(words[:2]) if words[0] == "postgres" else f"Valkey {_word(words, 'v=')}"


def _word(words: list[str], prefix: str) -> str:
    return next((word.removeprefix(prefix) for word in words if word.startswith(prefix)), "unknown")


def _python() -> str:
    return ", ".join([platform.python_version(), *(f"{name} {version(name)}" for name in _PYTHON)])


def _node(node: str) -> str:
    dependencies: Mapping[str, str] = json.loads((PEER / "package.json").read_text())["dependencies"]
    found = (f"{name} {number}" for name, number in dependencies.items())
    return ", ".join([_line([node, "--version"]).removeprefix("v"), *found])


def _syncs(seconds: float = 1.0) -> float:
    """How often a second this disk confirms a page: what bounds commits, whoever makes them."""
    count, started = 0, time.monotonic()
    with tempfile.TemporaryFile() as file:
        while (passed := time.monotonic() - started) < seconds:
            file.write(b"x" * 8192)
            file.flush()
            getattr(os, "fdatasync", os.fsync)(file.fileno())
            count += 1
    return count / passed
