"""Whether Postgres can be used, so that a worker takes no job that it could not claim."""

from __future__ import annotations

import time

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from app.db import errors
from app.observability.logging import get_logger

log = get_logger()

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 5.0
_CALM = 30.0


class DatabaseGate:
    """Closed until the first successful probe, and by every job that finds Postgres away, or without writes.

    Without it a worker would pop the whole queue within seconds of an outage, only to put every job back.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open = False
        self._reported = False
        self._pause = _FIRST_PAUSE
        self._next_probe = 0.0
        self._opened = 0.0

    @property
    def was_open(self) -> bool:
        """Whether the database could be used at any time since the start."""
        return self._opened > 0

    @property
    def was_usable(self) -> bool:
        """Whether the last that is known of the database is good; asks nobody."""
        return self._open

    def close(self) -> None:
        """Called from any thread. Closing again soon after an opening waits longer: a probe may succeed, and what a
        job needs fail."""
        if self._open:
            self._open = False
            self._next_probe = time.monotonic() + self._pause

    def is_open(self) -> bool:
        """Probes when it is time to; called by the loop, which has nothing better to do while it is closed."""
        now = time.monotonic()
        if self._open:
            if now > self._opened + _CALM:
                self._pause = _FIRST_PAUSE
        elif now >= self._next_probe:
            self._probe()
        return self._open

    def _probe(self) -> None:
        try:
            with self._engine.connect() as connection:
                connection.execute(text(errors.WRITE_PROBE))
        except SQLAlchemyError as error:
            if not self._reported:
                log.warning("waiting for the database and its schema", reason=errors.reason(error))
            self._reported = True
            self._next_probe = time.monotonic() + self._pause
            self._pause = min(_LONGEST_PAUSE, self._pause * 2)
            return
        if self._reported:
            log.info("the database is back")
        self._pause = min(_LONGEST_PAUSE, self._pause * 2)
        self._opened, self._reported = time.monotonic(), False
        self._open = True
