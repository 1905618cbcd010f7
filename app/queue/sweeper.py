"""Finds the jobs that Redis forgot or never heard of, and those whose worker vanished. It makes Redis expendable.

Runs in every worker; an advisory lock lets one sweep at a time. Due retries are woken by RQ's scheduled registry to the
millisecond (app.queue.worker.scheduled); this is what finds them when that registry is gone.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, false, func, or_, select, tuple_, update

from app.db import errors, locks
from app.observability.logging import get_logger
from app.queue.handler import Handler
from app.queue.models import Job
from app.queue.rq_queue import JobQueue

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

    def __init__(
        self,
        *,
        engine: Engine,
        queue: JobQueue,
        handlers: dict[str, Handler],
        interval: float,
        urgent: Sequence[str] = (),
    ) -> None:
        self._engine = engine
        self._queue = queue
        self._handlers = handlers
        self._urgent = urgent
        # The nudge of a fresh job takes milliseconds; a job on the queue is looked at again after two rounds.
        self._unsent_after = timedelta(seconds=min(2.0, interval))
        self._stale_after = timedelta(seconds=2 * interval)

    def sweep(self) -> Swept:
        """One round; nothing when another worker is at it. Raises SQLAlchemyError or RedisError with nothing lost."""
        buried = self._alone(self._bury)
        requeued = self._alone(self._take_back) + self._alone(self._requeue)
        if requeued or buried:
            log.info("swept", requeued=requeued, buried=buried)
        return Swept(requeued=requeued, buried=buried)

    def _alone(self, step: Callable[[Connection], int]) -> int:
        """What the step counts; 0 when another worker is at it.

        Each has a transaction of its own. Together they would lock what jobs are about in no order; and none waits for
        a job: one that somebody else is at is being claimed or finished, and is looked at in the next round.
        """

        def run() -> int:
            with self._engine.begin() as connection:
                if not connection.scalar(select(func.pg_try_advisory_xact_lock(locks.SWEEP))):
                    return 0
                return step(connection)

        return errors.again(run)

    def _bury(self, connection: Connection) -> int:
        """Jobs whose worker vanished in their last attempt: a poison job must not come back for ever."""
        rows = connection.execute(
            self._expired(Job.attempt >= Job.max_attempts)
            .values(state="dead", finished_at=func.now(), last_error=_ABANDONED)
            .returning(Job.kind, Job.subject_id)
        ).all()
        self._tell_handlers(connection, rows, dead=True)
        return len(rows)

    def _take_back(self, connection: Connection) -> int:
        """Jobs whose worker vanished with attempts left. RQ still lists them as running; the lease knows better."""
        rows = connection.execute(
            self._expired(Job.attempt < Job.max_attempts)
            .values(state="pending", run_at=func.now(), enqueued_at=func.now(), last_error=_ABANDONED)
            .returning(Job.id, Job.kind, Job.subject_id)
        ).all()
        self._tell_handlers(connection, rows, dead=False)
        return self._push(rows)

    def _expired(self, which: Any) -> Any:
        ended = Job.lease_until < func.now()
        mine = locks.in_order(
            Job.id, Job.queue == self._queue.name, Job.state == "running", ended, which, skip_locked=True
        )
        return update(Job).where(Job.id.in_(mine)).values(lease_until=None, claimed_by=None)

    def _tell_handlers(self, connection: Connection, rows: Iterable[Any], *, dead: bool) -> None:
        subjects: dict[str, list[uuid.UUID]] = defaultdict(list)
        for row in rows:
            subjects[row.kind].append(row.subject_id)
        for kind, subject_ids in subjects.items():
            if kind in self._handlers:
                self._handlers[kind].abandoned(connection, subject_ids, dead=dead, error=_ABANDONED)

    def _requeue(self, connection: Connection) -> int:
        """Put on the queue what should be there and is not."""
        known: set[str] | None = None
        # A long backlog is the time when a full comparison costs most and is needed least: while Redis has as many
        # entries as there are pending jobs, only those that it was never seen to have are looked up.
        some_lost = self._queue.count() < self._pending(connection)
        requeued = 0
        last: tuple[Any, ...] | None = None
        while rows := self._overdue(connection, after=last, announced_too=some_lost):
            if known is None:
                # Read after the first rows: a job popped later was on the list, and is known.
                known = self._queue.waiting_ids() | self._queue.running_ids()
            requeued += self._push([row for row in rows if str(row.id) not in known])
            # Those that are there are marked too: the API's nudge leaves that to us.
            self._mark(connection, [row.id for row in rows if row.enqueued_at is None or str(row.id) not in known])
            last = (rows[-1].run_at, rows[-1].id)
            if len(rows) < _BATCH:
                break
        return requeued

    def _push(self, rows: Sequence[Any]) -> int:
        urgent = [row.id for row in rows if row.kind in self._urgent]
        others = [row.id for row in rows if row.kind not in self._urgent]
        return sum(self._queue.push(ids, urgent=first) for ids, first in ((others, False), (urgent, True)) if ids)

    def _pending(self, connection: Connection) -> int:
        statement = select(func.count()).where(
            Job.queue == self._queue.name, Job.state == "pending", Job.run_at < func.now() - self._unsent_after
        )
        return connection.scalar(statement) or 0

    def _overdue(self, connection: Connection, *, after: tuple[Any, ...] | None, announced_too: bool) -> Sequence[Any]:
        """A page of pending jobs that were due a while ago and are not known to be on the queue since."""
        stale = Job.enqueued_at < func.now() - self._stale_after if announced_too else false()
        statement = (
            select(Job.id, Job.kind, Job.run_at, Job.enqueued_at)
            .where(
                Job.queue == self._queue.name,
                Job.state == "pending",
                Job.run_at < func.now() - self._unsent_after,
                or_(Job.enqueued_at.is_(None), stale),
            )
            .order_by(Job.run_at, Job.id)
            .limit(_BATCH)
        )
        if after is not None:
            statement = statement.where(tuple_(Job.run_at, Job.id) > after)
        return connection.execute(statement).all()

    def _mark(self, connection: Connection, job_ids: Sequence[uuid.UUID]) -> None:
        if job_ids:
            connection.execute(
                update(Job)
                .where(
                    Job.id.in_(locks.in_order(Job.id, Job.id.in_(job_ids), Job.state == "pending", skip_locked=True))
                )
                .values(enqueued_at=func.now())
            )
