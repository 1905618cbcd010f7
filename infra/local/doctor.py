"""What is wrong on this machine, as far as the local stack is concerned, and what to do about it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import psutil

from infra.local import binaries, ports
from infra.local.errors import LocalError
from infra.local.identity import for_server
from infra.local.status import collect
from infra.local.supervisor import client, process
from infra.settings import Settings

Level = Literal["ok", "warning", "error"]
OLDEST_PYTHON = (3, 11)
LITTLE_SPACE = 2 * 1024**3
"""Bytes below which to warn: a fresh stack takes 100 MB, and Postgres stops when the disk is full."""
NO_SPACE = 256 * 1024**2
EARLIEST = 1_767_225_600
"""2026-01-01: a clock before that is wrong, and tokens with it."""


@dataclass(frozen=True)
class Finding:
    """One check and what came of it. `remedy` is empty when all is well."""

    level: Level
    title: str
    detail: str = ""
    remedy: str = ""


def check(stack_dir: Path, settings: Settings) -> list[Finding]:
    """All checks, in the order in which a problem would show. Changes nothing."""
    return [
        _python(),
        *_wheels(settings),
        _folder(stack_dir),
        _space(stack_dir),
        *_user(stack_dir, settings),
        *_services(stack_dir),
        *_ports(stack_dir, settings),
        *_leftovers(stack_dir),
        *_locks(stack_dir),
        _clock(),
    ]


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return Finding("ok", f"Python {version}")
    return Finding(
        "error",
        f"Python {version} is too old",
        "The project needs 3.11 or newer.",
        "install a newer Python, delete .venv, and run make up",
    )


def _wheels(settings: Settings) -> Iterator[Finding]:
    servers: tuple[tuple[str, str, Callable[[], Path]], ...] = (
        ("Postgres", settings.postgres.provider, partial(binaries.postgres, "postgres")),
        ("Valkey", settings.redis.provider, binaries.valkey),
    )
    for name, provider, find in servers:
        if provider != "embedded":
            continue
        try:
            yield Finding("ok", f"{name} server", str(find()))
        except LocalError as error:
            yield Finding(
                "error",
                f"no {name} server",
                str(error),
                f"pip install 'slipway[local]', or use a {name} of your own (provider: external)",
            )


def _folder(stack_dir: Path) -> Finding:
    title = f"folder {stack_dir}"
    if not stack_dir.exists():
        return Finding("ok", title, "not made yet")
    found = stack_dir.stat()
    if found.st_uid != os.geteuid():
        return Finding(
            "error",
            f"{title} belongs to another user (uid {found.st_uid})",
            "It was made by another user, or with sudo.",
            f"run slipway as that user, or: sudo chown -R {os.geteuid()} {stack_dir}",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        return Finding(
            "warning",
            f"{title} can be read by others",
            "It holds the database and its passwords.",
            f"chmod 700 {stack_dir}",
        )
    return Finding("ok", title)


def _space(stack_dir: Path) -> Finding:
    existing = next(folder for folder in (stack_dir, *stack_dir.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    title = f"{free / 1024**3:.1f} GiB free on the disk of {existing}"
    remedy = "make room on the disk: slipway destroy --delete-data removes a stack's data"
    if free < NO_SPACE:
        return Finding("error", title, "Postgres stops when it cannot write.", remedy)
    if free < LITTLE_SPACE:
        return Finding("warning", title, "Postgres stops when it cannot write.", remedy)
    return Finding("ok", title)


def _user(stack_dir: Path, settings: Settings) -> Iterator[Finding]:
    if settings.postgres.provider != "embedded":
        return
    try:
        identity = for_server(binaries.postgres("postgres"), stack_dir if stack_dir.exists() else stack_dir.parent)
    except LocalError as error:
        yield Finding("error", "Postgres cannot run as this user", str(error), "run slipway as an ordinary user")
        return
    who = f"as uid {identity.owner[0]}, because it refuses root" if identity.owner else "as you"
    yield Finding("ok", f"Postgres runs {who}")


def _services(stack_dir: Path) -> Iterator[Finding]:
    for service in collect(stack_dir):
        if service.state in ("healthy", "rolling"):
            yield Finding("ok", f"{service.name} is {service.state}")
            continue
        reasons = sorted({replica.reason for replica in service.replicas if replica.reason})
        yield Finding(
            "error",
            f"{service.name} is {service.state}",
            "\n".join([*reasons, f"log: {service.log}"]),
            f"slipway logs {service.name}; slipway up starts it again",
        )


def _ports(stack_dir: Path, settings: Settings) -> Iterator[Finding]:
    """Ports that the settings fix, and that somebody else has."""
    running = {service.port for service in collect(stack_dir) if service.state != "stopped"}
    wanted = {
        "api.port": settings.api.port,
        "postgres.port": settings.postgres.port if settings.postgres.provider == "embedded" else None,
        "redis.port": settings.redis.port if settings.redis.provider == "embedded" else None,
    }
    for setting, port in wanted.items():
        if port is None:
            continue
        if port in running or ports.is_free(port):
            yield Finding("ok", f"port {port} ({setting})")
            continue
        yield Finding(
            "error",
            f"port {port} ({setting}) is in use",
            f"by {ports.owner(port)}",
            f"end that process, or: slipway config set {setting} {ports.free()}",
        )


def _leftovers(stack_dir: Path) -> Iterator[Finding]:
    """Supervisors of this stack whose folder is gone, or that hold it without answering."""
    found = [running for running in psutil.process_iter(["pid", "cmdline"]) if _supervises(running, stack_dir)]
    for supervisor in found:
        folder = Path(supervisor.info["cmdline"][-1])
        if client.status(folder) is None:
            yield Finding(
                "warning",
                f"supervisor {supervisor.pid} does not answer",
                f"It was started for {folder}.",
                f"kill {supervisor.pid}; slipway up starts a new one",
            )


def _supervises(running: psutil.Process, stack_dir: Path) -> bool:
    words = running.info["cmdline"] or []
    return "infra.local.supervisor" in words and Path(words[-1]).parent == stack_dir


def _locks(stack_dir: Path) -> Iterator[Finding]:
    """Locks on the stack's state: of a run that goes on, or of one that was killed."""
    for file in sorted((stack_dir.parent / ".pulumi" / "locks").glob(f"*/*/{stack_dir.name}/*.json")):
        try:
            holder = json.loads(file.read_text())
            pid, host, since = int(holder["pid"]), str(holder["hostname"]), str(holder["timestamp"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if host == socket.gethostname() and process.start_time(pid) is None:
            yield Finding(
                "warning",
                f"the stack is locked by process {pid}, which has ended",
                f"It was killed after {since}.",
                "slipway up takes the lock over; pulumi up wants `pulumi cancel` first",
            )
        else:
            yield Finding("ok", f"process {pid} on {host} is changing the stack since {since}")


def _clock() -> Finding:
    if time.time() > EARLIEST:
        return Finding("ok", "clock")
    return Finding(
        "error",
        "the clock is wrong",
        f"It says {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC; tokens would be refused.",
        "set the machine's clock",
    )
