"""The lock of a stack, in the place and form of Pulumi's file backend: the CLI and this engine exclude each other.

A holder has a file of its own in the stack's lock folder and looks for others before and after writing it. Two that
come at the same instant may both withdraw; none of them goes on beside another.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra.engine.errors import LockedError
from infra.engine.state import go_json
from infra.engine.state.checkpoint import timestamp
from infra.engine.state.files import make_private, write_atomically

_REBOOT_SLACK = 2.0
"""Seconds between a process's start and its lock's time below which clock granularity may be what separates them."""


@dataclass(frozen=True)
class Owner:
    """Who holds a lock file. `pid` is 0 when the file cannot be read."""

    path: Path
    pid: int
    username: str
    hostname: str
    since: str

    def __str__(self) -> str:
        if not self.pid:
            return f"{self.path.name}: unreadable lock file"
        return f"{self.username}@{self.hostname}, process {self.pid}, since {self.since}"

    def is_dead(self) -> bool:
        """True only when it is certain: the lock is of this host, and its process is gone or its id was given anew."""
        if not self.pid or self.hostname != socket.gethostname():
            return False
        import psutil

        try:
            process = psutil.Process(self.pid)
            # Where nobody collects orphans, as in a container whose first process is no init, a killed run stays so.
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            started = process.create_time()
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False
        return started > _seconds(self.since) + _REBOOT_SLACK


@contextlib.contextmanager
def held(folder: Path, stack: str, *, report: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock in `folder` (of stack `stack`) for the time of the block.

    Locks of runs that died on this host are removed and reported; any other raises LockedError.
    """
    clear(folder, stack, report=report)
    mine = folder / f"{uuid.uuid4()}.json"
    make_private(folder)
    write_atomically(mine, _content(), durable=False)
    try:
        _refuse_others(folder, stack, mine=mine, report=report)
        yield
    finally:
        mine.unlink(missing_ok=True)


def clear(folder: Path, stack: str, *, report: Callable[[str], None]) -> None:
    """Remove the locks of runs that died on this host, each reported; any other raises LockedError."""
    _refuse_others(folder, stack, mine=None, report=report)


def _refuse_others(folder: Path, stack: str, *, mine: Path | None, report: Callable[[str], None]) -> None:
    others = [_read(path) for path in sorted(folder.glob("*.json")) if path != mine and not path.name.startswith(".")]
    for owner in others:
        if owner.is_dead():
            owner.path.unlink(missing_ok=True)
            report(f"took over the lock of a run that did not end properly ({owner})")
    alive = [owner for owner in others if owner.path.exists()]
    if alive:
        raise LockedError(stack, [str(owner) for owner in alive], [owner.path for owner in alive])


def _read(path: Path) -> Owner:
    try:
        data = json.loads(path.read_bytes())
        return Owner(path, int(data["pid"]), str(data["username"]), str(data["hostname"]), str(data["timestamp"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Owner(path, 0, "", "", "")


def _content() -> bytes:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a user id that has no name.
        user = str(os.getuid())
    owner = {
        "pid": os.getpid(),
        "username": user,
        "hostname": socket.gethostname(),
        "timestamp": timestamp(datetime.now(UTC)),
    }
    return go_json.dumps(owner, sort_keys=False, escape_html=False).encode()


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        # An unknown form never makes a lock look dead.
        return float("inf")
