"""Ports of the loopback interface."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import psutil

from infra.local.paths import write_private

LOOPBACK = "127.0.0.1"


def free() -> int:
    """A port that nobody listens on now."""
    with socket.create_server((LOOPBACK, 0)) as found:
        port: int = found.getsockname()[1]
    return port


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError:
        return False
    return True


def kept(path: Path, wanted: int | None) -> int:
    """The port that a server has had since it was created, so that URLs stay good; `wanted` decides when set."""
    if wanted:
        return wanted
    file = path / "port"
    try:
        port = int(file.read_text())
    except (OSError, ValueError):
        port = 0
    if not port:
        port = free()
        write_private(file, str(port))
    return port


def forget(path: Path) -> None:
    """Let `kept` choose again."""
    (path / "port").unlink(missing_ok=True)


def owner(port: int) -> str:
    """Who listens on the port, for an error message. Other users' processes can often not be seen."""
    try:
        for connection in psutil.net_connections("tcp"):
            if _listens(connection, port) and connection.pid:
                return _describe(connection.pid)
    except psutil.Error:  # macOS shows connections of other processes to root only
        return _own_process(port)
    return "a process of another user"


def _own_process(port: int) -> str:
    for process in psutil.process_iter(["pid"]):
        try:
            if any(_listens(connection, port) for connection in process.net_connections("tcp")):
                return _describe(process.pid)
        except psutil.Error:
            continue
    return "a process of another user"


def _listens(connection: Any, port: int) -> bool:
    return bool(connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port)


def _describe(pid: int) -> str:
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        words = []
    command = " ".join(words)
    return f"process {pid} ({command[:117] + '...' if len(command) > 120 else command or 'command unknown'})"
