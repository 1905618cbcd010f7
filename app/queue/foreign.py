"""Jobs of other functions than ours: somebody's own RQ jobs on this queue.

What they do and hold is not ours: whatever is raised over one of them, by its function or by RQ over its data, is that
job's failure and no fault of this worker.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

from redis import RedisError
from rq.job import Job as RqJob
from rq.job import Retry

from app.observability.logging import get_logger
from app.queue.job import Job

log = get_logger()

# What RQ does for a job beyond storing its result; none of it is in app.queue.scripts.
_MORE = (
    b"success_callback_name",
    b"failure_callback_name",
    b"stopped_callback_name",
    b"webhooks",
    b"repeats_left",
    b"rate_limit_key",
)


class RqSide(Protocol):
    """What RQ's worker does itself for jobs that need more of it. `theirs`: the job as RQ sees it."""

    def job_of(self, job: Job) -> RqJob: ...

    def perform(self, job: Job, theirs: RqJob) -> None: ...

    def finish(self, job: Job, theirs: RqJob, value: Any) -> None: ...

    def fail(self, job: Job, theirs: RqJob, exc_info: Any) -> None: ...

    def release_dependents(self, job_ids: Sequence[str]) -> None: ...


def run(job: Job, *, rq: RqSide) -> bool:
    """Call the job's function; whether its end is to be acknowledged, which RQ's own code has not done, or could not
    for want of Redis."""
    try:
        theirs = rq.job_of(job)
        if any(job.fields.get(name, b"") not in (b"", b"0") for name in _MORE):
            rq.perform(job, theirs)
            return False
        return _perform(job, theirs, rq)
    except (RedisError, OSError) as error:
        log.warning("job's end not told to Redis", job_id=job.rq_id, reason=type(error).__name__)
        return False
    except Exception as error:
        log.exception("job failed, and RQ could not store how", job_id=job.rq_id)
        job.acknowledgement, job.error, job.ended_at = "failed", f"{type(error).__name__}: {error}", time.time()
        return True


def _perform(job: Job, theirs: RqJob, rq: RqSide) -> bool:
    try:
        value = theirs.perform()
    except BaseException:  # noqa: BLE001 - SystemExit in a job is the job's, not the worker's
        rq.fail(job, theirs, sys.exc_info())
        return False
    if isinstance(value, Retry):
        rq.finish(job, theirs, value)
        return False
    job.acknowledgement, job.value, job.ended_at = "finished", value, time.time()
    return True
