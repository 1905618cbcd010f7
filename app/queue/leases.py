"""The leases that this worker holds: those whose claim was answered, and those whose answer was lost after the commit.

The second kind would keep a job from everybody until its lease ends, and count an attempt that never began. With
`max_attempts: 1` that buried a delivery that was never sent.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence

from app.observability.logging import get_logger
from app.queue.job import Job
from app.queue.records import Records

log = get_logger()


class JobsNotStartedError(Exception):
    """Postgres could not be asked, or is not to be any more; the jobs go back to the queue."""


class Leases:
    """`held`: the jobs under way, by id and attempt. Of one job there may be two: that of an attempt whose lease has
    ended, and the one after it."""

    def __init__(
        self, *, records: Records, worker: str, longest: float, release: Callable[[Sequence[Job]], None]
    ) -> None:
        """`longest` lease, in seconds. `release` gives back jobs that have not begun."""
        self.held: dict[tuple[uuid.UUID, int], Job] = {}
        self._records, self._worker, self._longest, self._release = records, worker, longest, release
        self._lock = threading.Lock()
        # Jobs that a claim may have taken whose answer was lost, and until when (monotonic) it may still take them.
        self._unanswered: dict[uuid.UUID, float] = {}
        self._ended = False
        # Held from the question to the note of its answer, so that nobody takes a claim under way for an unknown one.
        self._claiming = threading.Lock()

    def claim(self, jobs: Sequence[Job], *, at: float) -> list[Job]:
        """Take those jobs that can be taken. `at`: monotonic time from which the leases are reckoned. Raises
        SQLAlchemyError with none of them taken, or with some that `recover` finds; JobsNotStartedError after `end`."""
        ids = {job.id for job in jobs}
        with self._claiming:
            doubtful = self._unanswered.keys() & ids
            if doubtful:
                self._recover()
            self._unanswered.update(dict.fromkeys(ids, at + self._longest))
            if self._ended:
                raise JobsNotStartedError("the worker ends")
            won = self._records.claim(jobs, worker=self._worker, at=at)
            with self._lock:
                self.held.update(((job.id, job.attempt), job) for job in won)
            # One that was doubtful before and is not won may be taken by the earlier claim yet.
            for job_id in ids - doubtful | {job.id for job in won}:
                self._unanswered.pop(job_id, None)
        return won

    def end(self) -> None:
        """Claim nothing more, before the worker releases what it holds: a batch that was claimed after that was left to
        its lease. A claim under way is in `unanswered`, for which `recover` waits."""
        self._ended = True

    @property
    def unanswered(self) -> bool:
        """Whether there may be claims whose answer was lost."""
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

    def all(self) -> list[Job]:
        with self._lock:
            return list(self.held.values())

    def older(self, seconds: float) -> list[Job]:
        """Those that outlasted their lease by so many seconds."""
        now = time.monotonic()
        return [job for job in self.all() if now > job.claimed_at + job.lease + seconds]

    def forget(self, job: Job) -> None:
        """It is over. Only this very claim: the number of an attempt that was not counted is used again."""
        with self._lock:
            if self.held.get((job.id, job.attempt)) is job:
                del self.held[job.id, job.attempt]

    def _recover(self) -> None:
        """With the lock for claims held."""
        now = time.monotonic()
        for job_id in [job_id for job_id, until in self._unanswered.items() if now > until]:
            del self._unanswered[job_id]
        if not self._unanswered:
            return
        found = self._records.owned(list(self._unanswered), worker=self._worker)
        with self._lock:
            strays = [job for job in found if (job.id, job.attempt) not in self.held]
        if strays:
            self._release(strays)
            log.warning("jobs go back, the answer to their claim was lost", job_ids=[str(job.id) for job in strays])
            for job in strays:
                self._unanswered.pop(job.id, None)
