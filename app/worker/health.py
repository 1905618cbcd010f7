"""The sign of life that the container's health check reads (app.healthcheck)."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from app.observability.logging import get_logger

log = get_logger()

_EVERY = 1.0


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
