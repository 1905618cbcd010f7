"""Start the supervisor of one service: the command returns when it is ready, and the daemon goes on."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from infra.local.supervisor import fail_fast
from infra.local.supervisor.child import Children, reserve_descriptors
from infra.local.supervisor.control import serve, socket_path
from infra.local.supervisor.process import start_time
from infra.local.supervisor.service import Service
from infra.local.supervisor.spec import Spec

EXIT_LOCKED = 3
_LOOK_AGAIN = 0.5
"""Seconds between two looks at the folder."""


def main() -> int:
    """0 when a new supervisor is ready, 3 when one runs already, 1 with a message on stderr when it cannot start."""
    directory = Path(sys.argv[1])
    reserve_descriptors()
    os.umask(0o077)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return EXIT_LOCKED
    ready, report = os.pipe()
    if os.fork():
        os.close(report)
        message = os.fdopen(ready).read()
        if message == "ready":
            return 0
        print(message or "the supervisor ended at its start", file=sys.stderr)
        return 1
    os.close(ready)
    _become_daemon(directory)
    os.ftruncate(lock, 0)
    os.write(lock, json.dumps({"pid": os.getpid(), "started": start_time(os.getpid())}).encode())
    try:
        asyncio.run(_run(directory, lock, report))
    except Exception:  # noqa: BLE001 - the parent process must hear of anything
        text = traceback.format_exc()
        print(text, file=sys.stderr, flush=True)
        # When the start was reported already, nobody listens any more.
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        with contextlib.suppress(OSError):
            os.write(report, text.encode())
        return 1
    return 0


def _become_daemon(directory: Path) -> None:
    """A session of our own, and nothing left of the caller's terminal."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    errors = os.open(directory / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    for target, source in ((0, null), (1, errors), (2, errors)):
        os.dup2(source, target)


async def _until_lost(directory: Path, lock: int) -> None:
    """Return when the folder is no longer ours: deleted, moved away, or made anew by somebody else."""
    while _holds(directory, lock):  # noqa: ASYNC110 - file systems tell nobody, at least not everywhere
        await asyncio.sleep(_LOOK_AGAIN)


def _holds(directory: Path, lock: int) -> bool:
    try:
        return os.path.samestat((directory / "lock").stat(), os.fstat(lock))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # Not certain, so nothing to end a service for.


async def _run(directory: Path, lock: int, report: int) -> None:
    service = Service(directory, Children())
    finished = asyncio.Event()
    closing: list[asyncio.Task[None]] = []

    def close() -> asyncio.Task[None]:
        """Stop gracefully; asked a second time, at once."""
        if closing:
            service.kill()
        else:
            closing.append(asyncio.create_task(service.stop()))
            closing[0].add_done_callback(lambda _: finished.set())
        return closing[0]

    async def watch() -> None:
        """End with the folder: nobody could reach this supervisor any more, and it would keep the port for good."""
        await _until_lost(directory, lock)
        service.leave()
        close()

    async def handle(request: dict[str, Any]) -> dict[str, Any]:
        match request.get("do"):
            case "status":
                return service.status()
            case "apply" if not closing:
                return vars(await service.apply(Spec.from_json(request["spec"])))
            case "apply":
                return {"ok": False, "reason": "the service is stopping", "error": "stopped"}
            case "stop":
                await asyncio.shield(close())
                return {"ok": True}
            case other:
                return {"ok": False, "reason": f"unknown request {other!r}", "error": "unknown"}

    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, close)
    service.end_leftovers()
    path = socket_path(directory)
    server = await serve(path, handle)
    os.write(report, b"ready")
    os.close(report)
    watching = asyncio.create_task(watch())
    fail_fast.watch(watching)
    await finished.wait()
    watching.cancel()
    if _holds(directory, lock):  # Otherwise the socket may be our successor's.
        path.unlink(missing_ok=True)
    server.close()
    await asyncio.sleep(0.05)  # The answer to ``stop`` goes out before the loop ends.


if __name__ == "__main__":
    sys.exit(main())
