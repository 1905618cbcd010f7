"""The way of a job through a worker.

    dequeued ─▶ claim (one thread) ─▶ run (a thread a slot) ─▶ store (one thread) ─▶ acknowledge (one thread)

Only running takes a slot. The other steps work on whatever has gathered, so that under load a job costs a fraction of a
transaction and of a round trip. Postgres and Redis have a thread each at the end: while Redis is away, effects are
still stored before their leases end.

A job of another function than ours (somebody's own RQ job on this queue) skips claim and store. One that uses more of
RQ than a return value (callbacks, repeats, rate limits), or fails, is RQ's own code's to finish.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence

from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app.observability.logging import get_logger
from app.queue import foreign
from app.queue.attempts import Attempts
from app.queue.foreign import RqSide
from app.queue.gate import DatabaseGate
from app.queue.job import Acknowledgement, Job
from app.queue.leases import JobsNotStartedError
from app.queue.slots import MOST, Slots
from app.queue.stages import Crew, Stage
from app.queue.wakeups import Wakeups

log = get_logger()

_PATIENCE = 1.0
"""Seconds that a job taken ahead waits for a slot before it goes back."""
_OVERRUN = 60.0
"""Seconds that a job of somebody else's function may run beyond its own time limit."""
_LINGER = 0.002
"""Seconds for which the ends of jobs gather before they are acknowledged. Nobody waits for it, and with short jobs it
makes one round trip of many."""


class Pipeline:
    """Takes dequeued jobs, and has them `under_way` until they are acknowledged. `expect` is called with the time (in
    seconds since 1970) at which a scheduled job will be due."""

    def __init__(
        self,
        *,
        attempts: Attempts,
        wakeups: Wakeups,
        rq: RqSide,
        gate: DatabaseGate,
        concurrency: int,
        expect: Callable[[float], None],
    ) -> None:
        self._attempts, self._wakeups, self._rq, self._gate = attempts, wakeups, rq, gate
        self._expect = expect
        self._slots = Slots(concurrency)
        self.under_way = self._slots.under_way
        self.jobs, self.free = self._slots.jobs, self._slots.free
        self._crew: Crew[Job] = Crew("job", self._run, size=concurrency)
        self._stages: dict[str, Stage[Job]] = {
            "claim": Stage("claim", self._claim, most=MOST),
            "store": Stage("store", self._store, most=MOST),
            "acknowledge": Stage("acknowledge", self._acknowledge, most=MOST, linger=_LINGER),
        }

    def put(self, jobs: Sequence[Job]) -> None:
        """From the queue."""
        self._slots.add(jobs)
        self._stages["claim"].put(job for job in jobs if job.ours)
        for job in jobs:
            if job.unreadable:
                self._end([job], "failed", error=job.unreadable)
            elif not job.ours:
                self._crew.put([job])

    def _claim(self, jobs: Sequence[Job]) -> None:
        """Those that can be taken wait for a slot."""
        once = {job.id: job for job in jobs}
        try:
            won = self._attempts.claim(list(once.values()))
        except JobsNotStartedError as error:
            self._gate.close()
            log.warning("jobs go back, the database is away", jobs=len(jobs), reason=str(error))
            self._end(jobs, "queued")
            return
        self._slots.move(won, "claimed")
        self._crew.put(won)
        mine = set(map(id, won))
        others = [job for job in jobs if id(job) not in mine]
        for job in others:
            self._end_again(job) if job.wait is not None else self._end([job], "dropped")

    def _run(self, job: Job) -> None:
        """In a slot."""
        self._slots.begin(job)
        if job.ours:
            self._attempts.run(job)
            self._slots.end(job, "ended")
            self._stages["store"].put([job])
        elif foreign.run(job, rq=self._rq):
            self._slots.end(job, "stored")
            self._stages["acknowledge"].put([job])
        else:
            self._slots.end(job, "stored")
            self._slots.remove([job])

    def _store(self, jobs: Sequence[Job]) -> None:
        """In Postgres; what cannot be stored now is tried again with what has ended meanwhile."""
        for job in self._attempts.store(jobs):
            outcome = job.ended_as
            if job.stored_as == "lost":
                self._end([job], "dropped")
            elif job.stored_as == "unstored":
                self._gate.close()
                self._end([job], "queued")
            elif outcome.result in ("retry", "wait"):
                self._end_again(job)
            elif outcome.result == "dead":
                self._end([job], "failed", error=outcome.error or "", at=time.time())
            else:
                self._end([job], "finished", at=time.time())
        self._stages["store"].put(job for job in jobs if job.stored_as is None)

    def _acknowledge(self, jobs: Sequence[Job]) -> None:
        """In RQ's registries."""
        try:
            if parents := self._wakeups.acknowledge(jobs):
                self._rq.release_dependents(parents)
        except (RedisError, OSError) as error:
            # Their effects are in Postgres. RQ's registries catch up when the entries expire and the jobs are dequeued
            # again.
            ids = [job.rq_id for job in jobs]
            log.warning("jobs' ends not told to Redis", job_ids=ids, reason=type(error).__name__)
        finally:
            self._slots.remove(jobs)

    def _end(self, jobs: Sequence[Job], end: Acknowledgement, *, error: str = "", at: float = 0.0) -> None:
        """Nothing is left but to acknowledge it."""
        for job in jobs:
            job.acknowledgement, job.error, job.ended_at = end, error, at
        self._slots.move(jobs, "stored")
        self._stages["acknowledge"].put(jobs)

    def _end_again(self, job: Job) -> None:
        self._expect(time.time() + (job.wait or 0.0))
        self._end([job], "scheduled")

    # -- what does not come to its end here

    def hand_on(self) -> None:
        """Give back what was taken ahead and has waited too long, because receivers have begun to hang: another worker
        may have a slot for it."""
        now = time.monotonic()
        if not any(_waits(job) and now > job.since + _PATIENCE for job in self.jobs()):
            return
        self._slots.slow_down()
        waiting = self._crew.take_back()
        late = [job for job in waiting if now > job.since + _PATIENCE]
        self._crew.put(job for job in waiting if job not in late)
        try:
            self._attempts.release([job for job in late if job.ours], error=None)
        except SQLAlchemyError as error:
            log.warning("jobs not handed on", jobs=len(late), reason=type(error).__name__)
            self._crew.put(late)
        else:
            self._end(late, "queued")

    @property
    def broken(self) -> bool:
        """Whether a thread has ended: some of the jobs under way come to no end here."""
        return bool(self._crew.failed) or not all(stage.is_alive for stage in self._stages.values())

    @property
    def suspects(self) -> list[uuid.UUID]:
        """Our jobs over which a thread has ended."""
        return [job.id for job in self._crew.failed if job.ours]

    def busy_since(self) -> dict[str, float]:
        """The steps that have work at hand, and since when (monotonic) the same. Running is not among them: what a job
        may take is its own to say."""
        return {name: since for name, stage in self._stages.items() if (since := stage.busy_since) is not None}

    def overdue(self) -> list[str]:
        """Ids of the jobs of other functions that ignore their own time limit."""
        now = time.monotonic()
        return [
            job.rq_id
            for job in self.jobs()
            if job.state == "running" and not job.ours and now > job.since + job.seconds(b"timeout", 0) + _OVERRUN
        ]


def _waits(job: Job) -> bool:
    return job.state in ("queued", "claimed")
