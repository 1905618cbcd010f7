"""The table of jobs, which is both the outbox and the lease.

A request commits its own row and a pending job in one transaction, and a worker may act on a job only while it holds
its lease at the attempt number that it claimed (the fencing token).
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Literal

from sqlalchemy import Index, Integer, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, one_of

JobState = Literal["pending", "running", "done", "dead"]
JOB_STATES: tuple[JobState, ...] = ("pending", "running", "done", "dead")


class Job(Base):
    """Work to be done once. `id` is also the RQ job id.

    pending: waits for `run_at` and a worker. `enqueued_at` is set by the claim or by the sweeper that put the job on
    the queue, not by the announcement after a commit, which would cost every request a statement; so None means "not
    seen by a worker yet" (the outbox).
    running: claimed until `lease_until` as `attempt`; done: its effect is committed; dead: `attempt` reached
    `max_attempts` or the failure is final, see `last_error`.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        one_of("state", JOB_STATES),
        # What the relay and the sweeper look for; finished jobs stay out of the index.
        Index("ix_jobs_open", "run_at", postgresql_where=text("state IN ('pending', 'running')")),
        Index("ix_jobs_subject_id", "subject_id"),
        # How many failed lately, without reading all that ever did.
        Index("ix_jobs_dead", "finished_at", postgresql_where=text("state = 'dead'")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    queue: Mapped[str]
    subject_id: Mapped[uuid.UUID]
    """The row that the job works on, in a table of its kind."""
    state: Mapped[str] = mapped_column(server_default="pending")
    attempt: Mapped[int] = mapped_column(Integer, server_default="0")
    max_attempts: Mapped[int]
    run_at: Mapped[datetime] = mapped_column(server_default=func.now())
    enqueued_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    claimed_by: Mapped[str | None]
    correlation_id: Mapped[str | None]
    traceparent: Mapped[str | None]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]
