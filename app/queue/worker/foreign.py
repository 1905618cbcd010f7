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
from rq.job import Retry

from app.observability.logging import get_logger
from app.queue.worker.books import Popped, Told

log = get_logger()


class RqSide(Protocol):
    """What RQ's worker does itself for jobs that need more of it."""

    def perform(self, popped: Popped) -> None: ...

    def finish(self, popped: Popped, value: Any) -> None: ...

    def fail(self, popped: Popped, exc_info: Any) -> None: ...

    def expect(self, due: float) -> None: ...

    def release_dependents(self, job_ids: Sequence[str]) -> None: ...


def run(popped: Popped, *, rq: RqSide) -> Told | None:
    """Call the job's function; None when RQ's code has told its end, or could not for want of Redis."""
    try:
        if popped.is_plain:
            return _perform(popped, rq)
        rq.perform(popped)
    except (RedisError, OSError) as error:
        log.warning("job's end not told to Redis", job_id=popped.job_id, reason=type(error).__name__)
    except Exception as error:
        log.exception("job failed, and RQ could not store how", job_id=popped.job_id)
        return Told(popped=popped, fate="failed", error=f"{type(error).__name__}: {error}", ended_at=time.time())
    return None


def _perform(popped: Popped, rq: RqSide) -> Told | None:
    try:
        value = popped.job.perform()
    except BaseException:  # noqa: BLE001 - SystemExit in a job is the job's, not the worker's
        rq.fail(popped, sys.exc_info())
        return None
    if isinstance(value, Retry):
        rq.finish(popped, value)
        return None
    return Told(popped=popped, fate="finished", value=value, ended_at=time.time())
