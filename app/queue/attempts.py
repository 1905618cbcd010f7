"""Attempts at jobs: claim, run, store; the first and the last for many jobs in one statement.

A worker does each in threads of its own (app.queue.pipeline); app.queue.execute does one after another.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db import errors
from app.observability import correlation, traces
from app.observability.jobs import JobRecorder, Unrecorded
from app.observability.logging import get_logger
from app.queue import backoff
from app.queue.handler import Handler
from app.queue.job import INTERNAL_ERROR, Job, Outcome
from app.queue.leases import JobsNotStartedError, Leases
from app.queue.records import Records
from app.settings import Settings

log = get_logger()

_STORE_PAUSE = 0.25
_OVERRUN = 60.0
_CLAIM_PATIENCE = 5.0
"""Seconds that a worker at its end waits for a claim under way, to hand back what it takes."""
_REFUSED = "the result cannot be stored"


@dataclass(kw_only=True)
class Attempts:
    """Those of one `worker`, which holds their leases."""

    records: Records
    handlers: Mapping[str, Handler]
    worker: str
    backoff_base: float
    backoff_cap: float
    recorder: JobRecorder = field(default_factory=Unrecorded)

    def __post_init__(self) -> None:
        self._leases = Leases(
            records=self.records,
            worker=self.worker,
            longest=self.longest_lease,
            release=lambda jobs: self.release(jobs, error=None),
        )

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        engine: Engine,
        worker: str,
        handlers: Mapping[str, Handler],
        recorder: JobRecorder | None = None,
    ) -> Attempts:
        return cls(
            records=Records(engine, handlers),
            handlers=handlers,
            worker=worker,
            backoff_base=settings.delivery_backoff / 1000,
            backoff_cap=settings.delivery_backoff_max / 1000,
            recorder=recorder or Unrecorded(),
        )

    @property
    def held(self) -> dict[tuple[uuid.UUID, int], Job]:
        """See app.queue.leases."""
        return self._leases.held

    @property
    def longest_lease(self) -> float:
        """Seconds."""
        return max((handler.lease for handler in self.handlers.values()), default=0.0)

    # -- claim

    def claim(self, jobs: Sequence[Job]) -> list[Job]:
        """Take those jobs that can be taken; the others have seconds to `wait`, or nothing left to do. Raises
        JobsNotStartedError with none of them taken, or with claims whose answer was lost, which `recover` finds."""
        # Before the question: the lease begins before its answer is here.
        at = time.monotonic()
        try:
            won = self._leases.claim(jobs, at=at)
        except SQLAlchemyError as error:
            raise JobsNotStartedError(errors.reason(error)) from None
        for job in won:
            self.recorder.started(job.kind, job.waited)
            with correlation.bound(job.correlation_id):
                log.info("job started", subject_id=str(job.subject_id), **job.facts())
        return won

    @property
    def unanswered(self) -> bool:
        """Whether there may be something to `recover`."""
        return self._leases.unanswered

    def recover(self) -> None:
        """Give back jobs that were claimed for this worker and have not begun, because the answer to the claim was
        lost. To be called now and then. Raises SQLAlchemyError."""
        self._leases.recover()

    # -- run

    def run(self, job: Job) -> None:
        """The attempt itself; no fault of a handler escapes."""
        begun = time.monotonic()
        tracing = traces.attempt(
            job_id=job.id, kind=job.kind, attempt=job.attempt, waited=job.waited, traceparent=job.traceparent
        )
        with correlation.bound(job.correlation_id), tracing as traced:
            job.traceparent = traced.traceparent
            outcome = job.outcome = _exhausted(job.outcome or self._run(job), job)
            traced.ended(outcome.result, outcome.error)
            job.span = traces.ids()
        if outcome.result == "wait":
            job.wait = outcome.at_least
        elif outcome.result == "retry":
            job.wait = self._backoff(job, at_least=outcome.at_least)
        job.duration = time.monotonic() - begun

    def _run(self, job: Job) -> Outcome:
        if job.work is None:
            return Outcome(result="dead", error="what the job was for is gone")
        try:
            return self.handlers[job.kind].run(job.work, job)
        except Exception:  # a handler's fault must end as a counted attempt, not as an endless requeue
            log.exception("job failed unexpectedly", job_id=str(job.id))
            return Outcome(result="retry", error=INTERNAL_ERROR)

    def _backoff(self, job: Job, *, at_least: float = 0.0) -> float:
        return backoff.delay(attempt=job.attempt, base=self.backoff_base, cap=self.backoff_cap, at_least=at_least)

    # -- store

    def store(self, jobs: Sequence[Job]) -> list[Job]:
        """Store the outcomes with their effects, as far as that can be done now; the jobs of which `stored_as` says
        what became of them. The others are to be given again, while their leases hold. Does not raise."""
        at_once = [job for job in jobs if not self.records.needs_more(job.kind)]
        if at_once:
            self._store(at_once)
        for kind in self.handlers:
            mine = [job for job in jobs if job.kind == kind and self.records.needs_more(kind)]
            if mine:
                self._store(mine)
        settled = [job for job in jobs if job.stored_as is not None]
        self._settle(settled)
        if jobs and not settled:
            time.sleep(_STORE_PAUSE * (1 + random.random()))  # noqa: S311 - spreads workers, guards nothing
        return settled

    def _store(self, jobs: Sequence[Job]) -> None:
        try:
            kept = self.records.store(jobs)
            kept |= self._stored_before([job for job in jobs if job.store_failed and job.id not in kept])
        except Exception as error:  # noqa: BLE001 - a handler's fault must not take the other jobs' effects along
            self._store_again(jobs, error)
            return
        for job in jobs:
            job.stored_as = "stored" if job.id in kept else "lost"

    def _store_again(self, jobs: Sequence[Job], error: Exception) -> None:
        kind = errors.kind(error)
        for job in jobs:
            # Its answer alone may have been what was lost.
            job.store_failed = True
        if len(jobs) > 1 and not kind.is_outage:
            # One of them holds what the database refuses, or cannot take now: the others get through.
            half = len(jobs) // 2
            self._store(jobs[:half])
            self._store(jobs[half:])
        elif kind is errors.Kind.FAULT and not (jobs[0].ended_as.error or "").startswith(_REFUSED):
            # A failed attempt is stored instead, of which users can read why. Left alone, the job would come back when
            # its lease ends, as if its worker had vanished.
            [job] = jobs
            log.error("job's result refused", reason=errors.reason(error), **job.facts())
            job.outcome = _exhausted(Outcome(result="retry", error=_REFUSED), job)
            job.wait = self._backoff(job)
            self._store(jobs)
        else:
            for job in jobs:
                self._not_stored(job, error)

    def _not_stored(self, job: Job, error: Exception) -> None:
        if not errors.kind(error).passes or job.lease_over:
            log.error("job's result not stored", reason=errors.reason(error), **job.facts())
            job.stored_as = "unstored"

    def _stored_before(self, missing: Sequence[Job]) -> set[uuid.UUID]:
        """Those of these jobs whose outcome stands in Postgres already: a statement that is repeated finds nothing to
        store when its first answer was lost after the commit."""
        if not missing:
            return set()
        found = self.records.stored_before(missing)
        # Who has the job by now, within our lease, got it through the end that we stored.
        return {
            job.id for job in missing if (exactly := found.get(job.id)) or (exactly is False and not job.lease_over)
        }

    def _settle(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._leases.forget(job)
            ended_as = job.ended_as.result if job.stored_as == "stored" else "lost"
            self.recorder.ended(job.kind, ended_as, job.duration)
            with correlation.bound(job.correlation_id):
                if job.stored_as == "lost":
                    log.warning("job lost its lease, its result was dropped", **job.facts())
                elif job.stored_as == "stored":
                    _log_end(job)

    # -- release

    def release(
        self,
        jobs: Sequence[Job] | None = None,
        *,
        error: str | None = "the worker stopped",
        suspects: Collection[uuid.UUID] = (),
    ) -> None:
        """Release these jobs, which have not begun, or every job still under way: for a worker that stops without them.
        Without an `error` the one in their rows stays. Raises SQLAlchemyError with all of them still held:
        one that was released and runs here all the same would run twice.

        That takes no attempt from them, but for those that ignored their deadline and the `suspects`, over which this
        worker failed: they may do so wherever they run.
        """
        counted = dict.fromkeys(map(str, suspects), "the worker failed over the job")
        if jobs is None:
            counted |= dict.fromkeys(self.stuck(), "the job ignored its deadline")
            self._leases.end()
            self._leases.recover(patience=_CLAIM_PATIENCE)
            jobs = self._leases.all()
        if not jobs:
            return
        # Copies: a thread may be at the job itself, and store what came of it.
        self.records.store(
            [replace(job, outcome=_released(job, error, counted.get(str(job.id))), wait=0.0) for job in jobs]
        )
        for job in jobs:
            self._leases.forget(job)

    def stuck(self) -> list[str]:
        """Ids of the jobs that outlasted their lease by far: nothing in this process can end them."""
        return [str(job.id) for job in self._leases.older(_OVERRUN)]


def _exhausted(outcome: Outcome, job: Job) -> Outcome:
    """A failure of the last attempt is final."""
    if outcome.result != "retry" or job.attempt < job.max_attempts:
        return outcome
    error = f"{outcome.error} (attempt {job.attempt} of {job.max_attempts})"
    return Outcome(result="dead", error=error, detail=outcome.detail, log=outcome.log)


def _released(job: Job, error: str | None, fault: str | None) -> Outcome:
    """`fault`: what the attempt is counted for, when it is."""
    if fault is None:
        return Outcome(result="wait", error=error, begun=error is not None)
    return Outcome(result="dead" if job.attempt >= job.max_attempts else "retry", error=fault)


def _log_end(job: Job) -> None:
    outcome = job.ended_as
    write = log.info if outcome.result in ("done", "wait") else log.warning
    write(
        "job ended",
        outcome=outcome.result,
        duration_ms=round(job.duration * 1000),
        **({"error": outcome.error} if outcome.error else {}),
        **({"retry_in_ms": round((job.wait or 0.0) * 1000)} if outcome.result in ("retry", "wait") else {}),
        **outcome.log,
        **job.span,
        **job.facts(),
    )
