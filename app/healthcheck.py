"""`python -m app.healthcheck`: the container's health command, for every MODE.

Exit code 0 when this container is well, else 1 with the reason on one line. It runs every few seconds beside the
service, so it imports nothing but the standard library and reads the environment itself.
"""

from __future__ import annotations

import http.client
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

STALE_SECONDS = 30.0
"""The worker's loop touches its file about once a second, and every few seconds while it waits for Redis."""
_TIMEOUT = 3.0
_ANY_HOST = ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound


def problem(environ: Mapping[str, str], *, now: Callable[[], float] = time.time) -> str | None:
    """What is wrong with the service of this environment; None when nothing is."""
    mode = environ.get("MODE", "")
    checks: dict[str, tuple[Callable[[], str | None], ...]] = {
        "api": (lambda: _api(environ),),
        "worker": (lambda: _worker(environ, now()),),
        "all": (lambda: _api(environ), lambda: _worker(environ, now())),
        # It runs once and ends; that it still runs is all there is to say.
        "migrate": (),
    }
    if mode not in checks:
        return f"MODE={mode!r} is not one of {', '.join(checks)}"
    return next((found for check in checks[mode] if (found := check())), None)


def _api(environ: Mapping[str, str]) -> str | None:
    port = environ.get("PORT", "3000")
    # What listens on one address of the machine does not answer on loopback.
    host = environ.get("HOST", "")
    host = "127.0.0.1" if host in _ANY_HOST else host
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/health/live"
    try:
        connection = http.client.HTTPConnection(host, int(port), timeout=_TIMEOUT)
        try:
            connection.request("GET", "/health/live", headers={"Connection": "close"})
            status = connection.getresponse().status
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"no answer from {url}: {error or type(error).__name__}"
    return None if status == http.client.OK else f"{url} answered {status}"


def _worker(environ: Mapping[str, str], now: float) -> str | None:
    name = environ.get("HEALTH_FILE", "")
    if not name:
        return "HEALTH_FILE is not set: set it to a path that the worker can write"
    try:
        age = now - Path(name).stat().st_mtime
    except OSError as error:
        return f"no heartbeat of the worker: {name}: {error.strerror}"
    return None if age <= STALE_SECONDS else f"the worker's last heartbeat is {age:.0f} s old (limit {STALE_SECONDS:g})"


def main() -> int:
    found = problem(os.environ)
    if found:
        print(found, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
