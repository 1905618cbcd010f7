"""The sign of life that the container's health check reads (app.healthcheck)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from app.observability.logging import get_logger

log = get_logger()

_EVERY = 1.0


class Pulse:
    """Beats for a loop whose jobs move on. A step that has had the same work for too long stands still, and the
    file shows it, although the loop goes on."""

    def __init__(self, file: HeartbeatFile, *, busy_since: Callable[[], Mapping[str, float]], limit: float) -> None:
        """`busy_since`: the steps with work at hand, and since when (monotonic). `limit` in seconds: longer than a step
        takes that stores for as long as a lease lasts."""
        self._file, self._busy_since, self._limit = file, busy_since, limit
        self._since = time.monotonic()
        self._told = False

    def beat(self, *, waiting: bool) -> None:
        """`waiting`: Redis or Postgres is away. Steps wait for it then, and a new worker could do no more."""
        now = time.monotonic()
        if waiting:
            self._since = now
        still = [step for step, since in self._busy_since().items() if now > max(since, self._since) + self._limit]
        if not still:
            self._file.beat()
        elif not self._told:
            log.critical("not well, steps stand still", steps=still)
        self._told = bool(still)


class HeartbeatFile:
    """A file touched by the loop that pops jobs: a side thread would go on touching it while the loop hangs."""

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None
        self._next = 0.0
        self._beaten = time.monotonic()
        self._complained = False

    @property
    def age(self) -> float:
        """Seconds since the last beat, or since the start; the same without a file."""
        return time.monotonic() - self._beaten

    def beat(self) -> None:
        """Touch the file, at most once a second. A full disk is reported once and stops no job."""
        self._beaten = time.monotonic()
        if self._path is None or self._beaten < self._next:
            return
        self._next = self._beaten + _EVERY
        try:
            self._path.touch()
        except OSError as error:
            if not self._complained:
                log.error("cannot write the health file", path=str(self._path), reason=error.strerror)
                self._complained = True

    def remove(self) -> None:
        """A worker that ended, or has not begun, is not well."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
