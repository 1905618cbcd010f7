"""The supervisor's control socket: one JSON request on a line, one JSON answer on a line."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

_SUN_PATH = 100
"""Bytes that fit a unix socket's address everywhere (Linux takes 107, macOS 103)."""

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def socket_path(directory: Path) -> Path:
    """Where the supervisor of `directory` listens: in it, or under the temp folder when that path is too long."""
    near = directory.absolute() / "control.sock"
    if len(os.fsencode(near)) <= _SUN_PATH:
        return near
    name = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"slipway-{os.geteuid()}" / f"{name}.sock"


def prepare(path: Path) -> None:
    """Make the folder ours alone and clear away the socket of a supervisor that died. PermissionError otherwise."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.parent.stat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise PermissionError(f"{path.parent} can be written by others: remove it, or set TMPDIR to a private folder")
    path.unlink(missing_ok=True)


async def serve(path: Path, handler: Handler) -> asyncio.Server:
    """Answer requests on `path`, readable and writable by its owner alone."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client that went away (Ctrl-C) is no reason to stop a rollout half-way.
        with contextlib.suppress(OSError, ValueError):
            request = json.loads(await reader.readline())
            answer = await handler(request)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    prepare(path)
    mask = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(connected, path, limit=4 * 1024 * 1024)
    finally:
        os.umask(mask)
