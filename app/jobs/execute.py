"""What RQ calls for a job of any kind: claim, act, store the effect and the job's new state in one transaction.

What RQ is told matches what Postgres says: a return is a finished job, `RetryAt` a scheduled one, JobDead a failed
one. Under a plain `rq worker` it works too, with the settings of that process's environment.
"""

from __future__ import annotations

import math
import os
import random
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from rq import Retry, get_current_job
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from app.jobs import backoff, claim
from app.jobs.claim import Claim, LeaseLostError, NotYet
from app.observability import correlation, traces
from app.observability.jobs import JobRecorder, Unrecorded
from app.observability.logging import get_logger
from app.settings import Settings

log = get_logger()

_MANY = 2**31
_STORE_PAUSE = 0.25
_OVERRUN = 60.0


class JobNotStartedError(Exception):
    """Postgres could not be asked; the job goes back to the queue."""


class JobNotStoredError(Exception):
    """Postgres could not be told before the lease ended; the job will run again."""


class JobDeadError(Exception):
    """The job failed for good; the message is its last error."""


class RetryAt(Retry):
    """RQ's own retry, in whole seconds, with the exact wait beside it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(max=_MANY, interval=max(1, math.ceil(seconds)))
        self.seconds = seconds


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one attempt.

    result: "done"; "retry" when another attempt may help; "dead" when none can. `error` is None only when done.
    `at_least`: seconds that the next attempt must wait. `detail`: what the handler wants to store.
    """

    result: Literal["done", "retry", "dead"]
    error: str | None = None
    at_least: float = 0.0
    detail: Any = None
    log: Mapping[str, Any] = field(default_factory=dict)


class Handler(Protocol):
    """One kind of job. `lease` is longer than `run` can take, in seconds."""

    lease: float

    def begin(self, connection: Connection, claimed: Claim) -> Any:
        """Within the claim's transaction: what `run` needs; None when the subject is gone."""

    def run(self, work: Any, claimed: Claim) -> Outcome:
        """The slow part; no transaction is open."""

    def store(self, connection: Connection, claimed: Claim, outcome: Outcome) -> None:
        """The effect, in the transaction that finishes the job."""

    def abandoned(self, connection: Connection, subject_ids: list[uuid.UUID], *, dead: bool, error: str) -> None:
        """The worker of these jobs vanished; they run again, or are dead."""


@dataclass(kw_only=True)
class Runtime:
    """What jobs need of the process that runs them.

    `held`: the claims of the jobs under way, and when (monotonic) each was claimed.
    """

    engine: Engine
    handlers: Mapping[str, Handler]
    worker: str
    backoff_base: float
    backoff_cap: float
    recorder: JobRecorder = field(default_factory=Unrecorded)
    held: dict[uuid.UUID, tuple[Claim, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, settings: Settings, *, engine: Engine, worker: str, recorder: JobRecorder | None = None) -> Runtime:
        from app.jobs.delivery import KIND, DeliveryHandler

        return cls(
            engine=engine,
            handlers={KIND: DeliveryHandler(settings)},
            worker=worker,
            backoff_base=settings.delivery_backoff / 1000,
            backoff_cap=settings.delivery_backoff_max / 1000,
            recorder=recorder or Unrecorded(),
        )

    @property
    def leases(self) -> dict[str, float]:
        return {kind: handler.lease for kind, handler in self.handlers.items()}

    def execute(self, job_id: uuid.UUID) -> RetryAt | None:
        """One attempt at the job, if it is there to be claimed."""
        started = time.monotonic()
        claimed, work = self._claim(job_id)
        if isinstance(claimed, NotYet):
            return RetryAt(claimed.seconds)
        if claimed is None:
            log.debug("nothing to do for job", job_id=str(job_id))
            return None
        ended_as = "lost"
        self.recorder.started(claimed.kind, claimed.waited)
        with correlation.bound(claimed.correlation_id), traces.attempt(claimed) as attempt:
            facts = {"job_id": str(job_id), "kind": claimed.kind, "attempt": claimed.attempt}
            log.info("job started", subject_id=str(claimed.subject_id), **facts)
            try:
                outcome, wait = self._finish(claimed, self._run(attempt.claimed, work), until=started + claimed.lease)
                ended_as = outcome.result
                attempt.ended(outcome.result, outcome.error)
            except LeaseLostError:
                log.warning("job lost its lease, its result was dropped", duration_ms=_since(started), **facts)
                return None
            finally:
                with self._lock:
                    self.held.pop(job_id, None)
                self.recorder.ended(claimed.kind, ended_as, time.monotonic() - started)
            tell = log.info if outcome.result == "done" else log.warning
            tell(
                "job ended",
                outcome=outcome.result,
                duration_ms=_since(started),
                **({"error": outcome.error} if outcome.error else {}),
                **({"retry_in_ms": round(wait * 1000)} if outcome.result == "retry" else {}),
                **outcome.log,
                **facts,
            )
        return _tell_rq(outcome, wait)

    def hand_back(self) -> list[uuid.UUID]:
        """Release every job still under way: for a worker that stops without them. The ids that are free again."""
        with self._lock:
            held = list(self.held.values())
        free = []
        for claimed, _ in held:
            try:
                with self.engine.begin() as connection:
                    claim.release(connection, claimed)
                    self.handlers[claimed.kind].abandoned(
                        connection, [claimed.subject_id], dead=False, error="the worker stopped"
                    )
            except LeaseLostError:
                continue
            free.append(claimed.job_id)
        return free

    def stuck(self) -> list[str]:
        """Ids of the jobs that outlasted their lease by far: nothing in this process can end them."""
        now = time.monotonic()
        with self._lock:
            return [str(job_id) for job_id, (held, since) in self.held.items() if now > since + held.lease + _OVERRUN]

    def _claim(self, job_id: uuid.UUID) -> tuple[Claim | NotYet | None, Any]:
        try:
            with self.engine.begin() as connection:
                claimed = claim.claim(connection, job_id=job_id, worker=self.worker, leases=self.leases)
                if not isinstance(claimed, Claim):
                    return claimed, None
                work = self.handlers[claimed.kind].begin(connection, claimed)
        except SQLAlchemyError as error:
            raise JobNotStartedError(type(error).__name__) from None
        with self._lock:
            self.held[job_id] = claimed, time.monotonic()
        return claimed, work

    def _run(self, claimed: Claim, work: Any) -> Outcome:
        if work is None:
            return Outcome(result="dead", error="what the job was for is gone")
        try:
            return self.handlers[claimed.kind].run(work, claimed)
        except Exception:  # a handler's fault must end as a counted attempt, not as an endless requeue
            log.exception("job failed unexpectedly", job_id=str(claimed.job_id))
            return Outcome(result="retry", error="internal error")

    def _finish(self, claimed: Claim, outcome: Outcome, *, until: float) -> tuple[Outcome, float]:
        """Store the outcome, for as long as the lease holds; the outcome as stored, and the wait before a retry."""
        if outcome.result == "retry" and claimed.attempt >= claimed.max_attempts:
            outcome = Outcome(
                result="dead",
                error=f"{outcome.error} (attempt {claimed.attempt} of {claimed.max_attempts})",
                detail=outcome.detail,
                log=outcome.log,
            )
        wait = backoff.delay(
            attempt=claimed.attempt, base=self.backoff_base, cap=self.backoff_cap, at_least=outcome.at_least
        )
        while True:
            try:
                self._store(claimed, outcome, wait)
            except SQLAlchemyError as error:
                if time.monotonic() >= until:
                    raise JobNotStoredError(type(error).__name__) from None
                time.sleep(_STORE_PAUSE * (1 + random.random()))  # noqa: S311 - spreads workers, guards nothing
            else:
                return outcome, wait

    def _store(self, claimed: Claim, outcome: Outcome, wait: float) -> None:
        with self.engine.begin() as connection:
            if outcome.result == "done":
                claim.complete(connection, claimed)
            elif outcome.result == "retry":
                claim.retry_in(connection, claimed, seconds=wait, error=outcome.error or "")
            else:
                claim.bury(connection, claimed, error=outcome.error or "")
            self.handlers[claimed.kind].store(connection, claimed, outcome)


def _tell_rq(outcome: Outcome, wait: float) -> RetryAt | None:
    if outcome.result == "retry":
        return RetryAt(wait)
    if outcome.result == "dead":
        if (job := get_current_job()) is not None:
            job.retries_left = 0
        raise JobDeadError(outcome.error)
    return None


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


_installed: Runtime | None = None
_install_lock = threading.Lock()


def install(runtime: Runtime) -> None:
    """Make `runtime` the one that jobs of this process run in."""
    global _installed
    _installed = runtime


def execute(job_id: str) -> RetryAt | None:
    """The function named in every RQ job (app.jobs.queue.FUNCTION)."""
    return _runtime().execute(uuid.UUID(job_id))


def _runtime() -> Runtime:
    with _install_lock:
        if _installed is None:
            from app.db.engine import sync_engine

            settings = Settings.load(os.environ)
            # A forked work horse lives for one job: a pool would be made and thrown away with it.
            engine = sync_engine(settings, pooled=False)
            install(Runtime.of(settings, engine=engine, worker=f"rq-{uuid.uuid4().hex}"))
        assert _installed is not None
        return _installed
