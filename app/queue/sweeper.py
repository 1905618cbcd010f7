"""Finds the jobs that Redis forgot or that were never enqueued, and those whose worker vanished.

It makes Redis expendable.

Runs in every worker; an advisory lock lets one sweep at a time. Due retries are woken from RQ's scheduled registry to
the millisecond (Wakeups.promote); this is what finds them when that registry is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from app.observability.logging import get_logger
from app.queue.job import Job
from app.queue.records import Overdue, Records, Sweep
from app.queue.wakeups import Wakeups

log = get_logger()

_BATCH = 500
# Its worker may be well: the database was away from it for longer than the lease.
_ABANDONED = "the attempt's result was not stored within its lease; the request may have been sent"


@dataclass(frozen=True, kw_only=True)
class Swept:
    """How many jobs: `requeued` put on the queue again, `buried` given up after their last attempt."""

    requeued: int = 0
    buried: int = 0


class Sweeper:
    """`interval` in seconds: how often `sweep` will be called, and what counts as overdue follows from it. `urgent`:
    kinds of jobs that go before others."""

    def __init__(self, *, records: Records, wakeups: Wakeups, interval: float, urgent: Sequence[str] = ()) -> None:
        self._records, self._wakeups, self._urgent = records, wakeups, urgent
        # A fresh job is announced within milliseconds; a job on the queue is looked at again after two rounds.
        self._unsent_after = timedelta(seconds=min(2.0, interval))
        self._stale_after = timedelta(seconds=2 * interval)

    def sweep(self) -> Swept:
        """One round; nothing when another worker is at it. Raises SQLAlchemyError or RedisError with nothing lost."""
        buried, taken_back, requeued = (
            self._records.sweep(self._wakeups.name, step) for step in (self._bury, self._take_back, self._requeue)
        )
        requeued += taken_back
        if requeued or buried:
            log.info("swept", requeued=requeued, buried=buried)
        return Swept(requeued=requeued, buried=buried)

    def _bury(self, sweep: Sweep) -> int:
        """Jobs whose worker vanished in their last attempt: a poison job must not come back for ever."""
        return len(sweep.expire(last=True, error=_ABANDONED))

    def _take_back(self, sweep: Sweep) -> int:
        """Jobs whose worker vanished with attempts left. RQ still lists them as running; the lease decides."""
        return self._enqueue(sweep.expire(last=False, error=_ABANDONED))

    def _requeue(self, sweep: Sweep) -> int:
        """Put on the queue what should be there and is not."""
        there: set[str] | None = None
        # A long backlog is the time when a full comparison costs most and is needed least: while Redis has as many
        # entries as there are pending jobs, only those that it was never seen to have are looked up.
        some_lost = self._wakeups.count() < sweep.pending(due_for=self._unsent_after)
        stale_after = self._stale_after if some_lost else None
        requeued = 0
        last: Overdue | None = None
        while page := sweep.overdue(after=last, due_for=self._unsent_after, enqueued_for=stale_after, most=_BATCH):
            if there is None:
                # Read after the first rows: a job dequeued later was on the list, and is seen.
                there = self._wakeups.waiting_ids() | self._wakeups.running_ids()
            missing = [job for job in page if str(job.id) not in there]
            requeued += self._enqueue(missing)
            # Those that are there are marked too: an announcement does not mark.
            sweep.mark({job.id for job in (*missing, *(job for job in page if job.enqueued_at is None))})
            last = page[-1]
            if len(page) < _BATCH:
                break
        return requeued

    def _enqueue(self, jobs: Sequence[Job] | Sequence[Overdue]) -> int:
        urgent = [job.id for job in jobs if job.kind in self._urgent]
        others = [job.id for job in jobs if job.kind not in self._urgent]
        return sum(self._wakeups.enqueue(ids, urgent=first) for ids, first in ((others, False), (urgent, True)) if ids)
