"""What RQ calls for a job of any kind: claim it, act, store the effect and the job's new state in one transaction.

Our worker does the same for many jobs at once and does not come through here; a plain `rq worker` does, with the
settings of its process's environment. What RQ sees matches what Postgres has: a return is a finished job,
`RetryAt` a scheduled one, JobDeadError a failed one.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import uuid

from rq import Retry, get_current_job
from sqlalchemy.exc import SQLAlchemyError

from app.queue.attempts import Attempts
from app.queue.job import Job
from app.queue.leases import JobsNotStartedError
from app.settings import Settings

_MANY = 2**31


class JobNotStoredError(Exception):
    """The outcome could not be stored before the lease ended; the job will run again."""


class JobDeadError(Exception):
    """The job failed for good; the message is its last error."""


class RetryAt(Retry):
    """RQ's own retry, in whole seconds, with the exact wait beside it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(max=_MANY, interval=max(1, math.ceil(seconds)))
        self.seconds = seconds


def execute(job_id: str) -> RetryAt | None:
    """The function named in every RQ job (app.queue.wakeups.FUNCTION, through app.jobs)."""
    return attempt(_attempts(), uuid.UUID(job_id))


def attempt(attempts: Attempts, job_id: uuid.UUID) -> RetryAt | None:
    """One attempt at the job, if it is there to be claimed. Raises what RQ takes for a failure."""
    job = Job(id=job_id)
    try:
        won = attempts.claim([job])
    except JobsNotStartedError:
        # This process ends with the job: nobody would look for a claim whose answer was lost.
        with contextlib.suppress(SQLAlchemyError):
            attempts.recover()
        raise
    if not won:
        return None if job.wait is None else RetryAt(job.wait)
    attempts.run(job)
    while job.stored_as is None:
        attempts.store([job])
    if job.stored_as == "unstored":
        raise JobNotStoredError
    if job.stored_as == "lost":
        return None
    outcome = job.ended_as
    if outcome.result == "dead":
        if (theirs := get_current_job()) is not None:
            theirs.retries_left = 0
        raise JobDeadError(outcome.error)
    return RetryAt(job.wait or 0.0) if outcome.result in ("retry", "wait") else None


_installed: Attempts | None = None
_install_lock = threading.Lock()


def _attempts() -> Attempts:
    global _installed
    with _install_lock:
        if _installed is None:
            from app import composition
            from app.db.engine import sync_engine

            settings = Settings.load(os.environ)
            # A forked work horse lives for one job: a pool would be made and thrown away with it.
            engine = sync_engine(settings, pooled=False)
            _installed = Attempts.of(
                settings, engine=engine, worker=f"rq-{uuid.uuid4().hex}", handlers=composition.handlers(settings)
            )
        return _installed
