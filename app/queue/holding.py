"""The claims that this worker holds: those it knows of, and those whose answer was lost after Postgres had committed.

The second kind would keep a job from everybody until its lease ends, and count an attempt that never began. With
`max_attempts: 1` that buried a delivery that was never sent.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from sqlalchemy import Engine

from app.db import errors
from app.observability.logging import get_logger
from app.queue import claims as claim
from app.queue.claims import Claim, Claims, Statements

log = get_logger()


class Holding:
    """`held`: the claims of the jobs under way, by job and attempt, and when (monotonic) each was asked for. Of one job
    there may be two: that of an attempt whose lease has ended, and the one after it."""

    def __init__(
        self,
        *,
        engine: Engine,
        worker: str,
        leases: Mapping[str, float],
        statements: Statements,
        release: Callable[[Sequence[Claim]], None],
    ) -> None:
        """`engine`: each of its statements is a transaction. `leases`: seconds by kind. `release` gives back claims of
        attempts that have not begun."""
        self.held: dict[tuple[uuid.UUID, int], tuple[Claim, float]] = {}
        self._engine, self._worker, self._leases, self._statements = engine, worker, leases, statements
        self._release = release
        self._lock = threading.Lock()
        # Jobs that a claim may have taken whose answer was lost, and until when (monotonic) it may still take them.
        self._unanswered: dict[uuid.UUID, float] = {}
        # Held from the question to the note of its answer, so that nobody takes a claim under way for an unknown one.
        self._claiming = threading.Lock()

    def claim(self, job_ids: Sequence[uuid.UUID], *, at: float) -> Claims:
        """Take those jobs that can be taken. `at`: monotonic time from which the leases are reckoned. Raises
        SQLAlchemyError with none of them taken, or with some that `recover` finds."""
        with self._claiming:
            doubtful = self._unanswered.keys() & set(job_ids)
            if doubtful:
                self._recover()
            self._unanswered.update(dict.fromkeys(job_ids, at + max(self._leases.values(), default=0.0)))
            claims = errors.again(partial(self._take, job_ids))
            with self._lock:
                self.held.update(((one.job_id, one.attempt), (one, at)) for one in claims.won)
            # One that was doubtful before and is not won may be taken by the earlier claim yet.
            for job_id in {*job_ids} - doubtful | {one.job_id for one in claims.won}:
                self._unanswered.pop(job_id, None)
        return claims

    def _take(self, job_ids: Sequence[uuid.UUID]) -> Claims:
        with self._engine.connect() as connection:
            return claim.claim(
                connection, job_ids=job_ids, worker=self._worker, leases=self._leases, statements=self._statements
            )

    @property
    def unanswered(self) -> bool:
        """Whether there may be claims that nobody knows of."""
        return bool(self._unanswered)

    def recover(self, *, patience: float = 0.0) -> None:
        """Give back what was claimed without an answer. Raises SQLAlchemyError.

        To be called now and then, because a claim that was cut off may be committed later still. A claim under way is
        waited for, for at most `patience` seconds.
        """
        if self._unanswered and self._claiming.acquire(timeout=patience):
            try:
                self._recover()
            finally:
                self._claiming.release()

    def all(self) -> list[Claim]:
        with self._lock:
            return [one for one, _ in self.held.values()]

    def older(self, seconds: float) -> list[Claim]:
        """Those that outlasted their lease by so many seconds."""
        now = time.monotonic()
        with self._lock:
            return [one for one, since in self.held.values() if now > since + one.lease + seconds]

    def forget(self, claimed: Claim) -> None:
        """It is over. Only this very claim: the number of an attempt that was not counted is used again."""
        key = claimed.job_id, claimed.attempt
        with self._lock:
            if key in self.held and self.held[key][0] is claimed:
                del self.held[key]

    def _recover(self) -> None:
        """With the lock for claims held."""
        now = time.monotonic()
        for job_id in [job_id for job_id, until in self._unanswered.items() if now > until]:
            del self._unanswered[job_id]
        if not self._unanswered:
            return
        with self._engine.connect() as connection:
            found = claim.owned(connection, self._unanswered, worker=self._worker)
        with self._lock:
            strays = [one for one in found if (one.job_id, one.attempt) not in self.held]
        if strays:
            self._release(strays)
            log.warning("jobs go back, the answer to their claim was lost", job_ids=[str(one.job_id) for one in strays])
            for one in strays:
                self._unanswered.pop(one.job_id, None)
