"""Processes by identity: a pid alone may by now belong to somebody else, so the start time goes with it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from infra.polling import poll

_PR_SET_PDEATHSIG = 1
_PASSED_ON = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")


def base_environment() -> dict[str, str]:
    """What a process gets of the environment that ``up`` was started from.

    Nothing else is passed on: the service must be the same no matter who starts it, and must not get a passphrase that
    the shell holds.
    """
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def start_time(pid: int) -> str | None:
    """An opaque mark of when the process started, or None when there is no such living process."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self").exists():
        try:
            # The command name in parentheses may hold spaces: count fields from its end.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        # Ticks since boot: after a restart of the machine another process may have the same pid and the same ticks.
        return None if fields[0] in "ZX" else f"{_boot()}:{fields[19]}"
    listing = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = listing.stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def end(pid: int, started: str, *, sign: int, within: float) -> bool:
    """End that very process: `sign`, and SIGKILL to its group after `within` seconds. False when it was gone."""
    if start_time(pid) != started:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sign)

    def gone() -> bool | None:
        return None if start_time(pid) == started else True

    if not poll(gone, within=within, pause=0.02):
        kill_group(pid)
        poll(gone, within=float("inf"), pause=0.02)
    return True


def end_recorded(directory: Path) -> list[int]:
    """End the replicas that a killed supervisor of `directory` left: they may hold its port and data for as long as
    they drain. Returns the pids of those that still ran; a record that is missing or damaged names none."""
    try:
        rows = [(int(pid), str(started)) for pid, started in json.loads((directory / "replicas.json").read_text())]
    except (OSError, ValueError, TypeError):
        return []
    return [pid for pid, started in rows if end(pid, started, sign=signal.SIGTERM, within=10)]


def kill_group(pid: int) -> None:
    """SIGKILL to the group that the process leads or led. Never to the bare pid, which may be another's by now."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def die_with_parent(sign: int) -> Callable[[], None] | None:
    """What a child runs before exec so that it gets `sign` when the supervisor dies. None where there is no such call.

    The C library is loaded here, in the parent: nothing but the two calls happens between fork and exec.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, sign, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return arm
