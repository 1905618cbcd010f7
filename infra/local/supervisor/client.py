"""Talking to supervisors: start one, ask it, end it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from infra.local.supervisor import process
from infra.local.supervisor.control import socket_path
from infra.local.supervisor.spec import Spec
from infra.polling import poll

_ANSWER_STATUS = 10.0


class SupervisorError(Exception):
    """A supervisor could not be started, or does not answer."""


def running(directory: Path) -> bool:
    """Whether a supervisor holds `directory`. Its lock tells; a file with a pid could be stale."""
    try:
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def start(directory: Path) -> None:
    """See that a supervisor runs for `directory`."""
    if running(directory):
        return
    done = subprocess.run(
        [sys.executable, "-m", "infra.local.supervisor", str(directory)],
        env=process.base_environment(),
        cwd=Path(__file__).parents[3],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # Ctrl-C ends what asked for it, not this
    )
    if done.returncode and not running(directory):
        raise SupervisorError(f"The supervisor for {directory} did not start: {done.stderr.strip()}")


def status(directory: Path) -> dict[str, Any] | None:
    """What the supervisor says, or None when there is none or it does not answer."""
    try:
        return _ask(directory, {"do": "status"}, within=_ANSWER_STATUS)
    except SupervisorError:
        return None


def apply(directory: Path, spec: Spec) -> dict[str, Any]:
    """Bring the service to `spec`; the answer has the fields of `service.Outcome`.

    Takes as long as the rollout takes: the supervisor bounds each step by the times in the spec.
    """
    _end_hung(directory)
    start(directory)
    return _ask(directory, {"do": "apply", "spec": spec.to_json()}, within=None)


def stop(directory: Path) -> None:
    """Stop the service and its supervisor; nothing of them lives when this returns."""
    while running(directory):
        _end_hung(directory)
        with contextlib.suppress(SupervisorError):  # It may be about to end by itself.
            _ask(directory, {"do": "stop"}, within=None)
        _gone(directory, within=10)
    end_leftovers(directory)


def end_leftovers(directory: Path) -> None:
    """End what a killed supervisor left, unless another one runs, whose replicas these are."""
    if not running(directory):
        process.end_recorded(directory)


def _end_hung(directory: Path) -> None:
    """End a supervisor that holds the directory and does not answer; its replicas end with it."""
    owner = _owner(directory)
    if owner and running(directory) and status(directory) is None and not _gone(directory, within=1):
        process.end(*owner, sign=signal.SIGTERM, within=1)
        end_leftovers(directory)


def _gone(directory: Path, *, within: float) -> bool:
    return poll(lambda: None if running(directory) else True, within=within, pause=0.01) is not None


def _owner(directory: Path) -> tuple[int, str] | None:
    try:
        data = json.loads((directory / "lock").read_text())
        return int(data["pid"]), str(data["started"])
    except (OSError, ValueError, KeyError):
        return None


def _ask(directory: Path, request: dict[str, Any], *, within: float | None) -> dict[str, Any]:
    path = socket_path(directory)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(within)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as reader:
                line = reader.readline()
        except OSError as error:
            raise SupervisorError(f"The supervisor at {path} does not answer: {error}") from error
    if not line:
        raise SupervisorError(f"The supervisor at {path} ended while it was asked; see {directory}/supervisor.log")
    answer: dict[str, Any] = json.loads(line)
    return answer
