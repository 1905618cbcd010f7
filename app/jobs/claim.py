"""Who may act on a job: a lease in Postgres, fenced by the attempt number.

A worker owns a job from its claim until it finishes it or the lease ends. Every statement after the claim names the
attempt and the owner, so a worker that was away for longer than its lease (a paused container, a cut network) changes
nothing when it comes back: LeaseLost rolls its whole transaction back, the job's effect with it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Update, and_, case, func, literal, or_, select, update

from app.db.models import Job


class LeaseLostError(Exception):
    """The job belongs to another attempt by now; nothing of this one may be stored."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to act on a job, as `attempt`, for `lease` seconds from the claim."""

    job_id: uuid.UUID
    kind: str
    subject_id: uuid.UUID
    attempt: int
    max_attempts: int
    worker: str
    lease: float
    correlation_id: str | None
    traceparent: str | None
    waited: float = 0.0
    """Seconds from when the job was due until this claim."""


@dataclass(frozen=True)
class NotYet:
    """The job is to run in so many seconds."""

    seconds: float


def claim(
    connection: Connection, *, job_id: uuid.UUID, worker: str, leases: Mapping[str, float]
) -> Claim | NotYet | None:
    """Take the job; None when it is done, dead, another worker's, or of a kind that is not in `leases`.

    `leases`: seconds by kind. During a deploy an old worker meets new kinds; it leaves them to the new ones.
    """
    lease = case(*((Job.kind == kind, literal(timedelta(seconds=seconds))) for kind, seconds in leases.items()))
    row = connection.execute(
        update(Job)
        .where(
            Job.id == job_id,
            Job.kind.in_(leases),
            Job.attempt < Job.max_attempts,
            or_(
                and_(Job.state == "pending", Job.run_at <= func.now()),
                and_(Job.state == "running", Job.lease_until < func.now()),
            ),
        )
        .values(
            state="running",
            attempt=Job.attempt + 1,
            lease_until=func.now() + lease,
            claimed_by=worker,
            enqueued_at=func.coalesce(Job.enqueued_at, func.now()),
        )
        .returning(
            *(Job.kind, Job.subject_id, Job.attempt, Job.max_attempts, Job.correlation_id, Job.traceparent),
            func.extract("epoch", func.now() - Job.run_at).label("waited"),
        )
    ).one_or_none()
    if row is None:
        return _why_not(connection, job_id)
    return Claim(
        job_id=job_id,
        worker=worker,
        lease=leases[row.kind],
        **{**row._mapping, "waited": float(row.waited)},
    )


def _why_not(connection: Connection, job_id: uuid.UUID) -> NotYet | None:
    seconds = connection.scalar(
        select(func.extract("epoch", Job.run_at - func.now())).where(Job.id == job_id, Job.state == "pending")
    )
    return NotYet(float(seconds)) if seconds is not None and seconds > 0 else None


def complete(connection: Connection, claimed: Claim) -> None:
    """The effect is in this transaction. Raises LeaseLostError, as all below."""
    _change(connection, claimed, state="done", finished_at=func.now(), last_error=None)


def retry_in(connection: Connection, claimed: Claim, *, seconds: float, error: str) -> None:
    """Give the job up until `seconds` from now."""
    run_at = func.now() + timedelta(seconds=seconds)
    _change(connection, claimed, state="pending", run_at=run_at, enqueued_at=None, last_error=error)


def bury(connection: Connection, claimed: Claim, *, error: str) -> None:
    """The job failed for good."""
    _change(connection, claimed, state="dead", finished_at=func.now(), last_error=error)


def release(connection: Connection, claimed: Claim) -> None:
    """Hand the job back as if it had not been claimed: a worker that must stop takes no attempt from it.

    That the number is used again is safe, because the owner is fenced too and a stopping worker claims nothing more.
    """
    _change(connection, claimed, state="pending", attempt=Job.attempt - 1, run_at=func.now(), enqueued_at=None)


def _change(connection: Connection, claimed: Claim, **values: Any) -> None:
    statement: Update = (
        update(Job)
        .where(
            Job.id == claimed.job_id,
            Job.state == "running",
            Job.attempt == claimed.attempt,
            Job.claimed_by == claimed.worker,
        )
        .values(lease_until=None, claimed_by=None, **values)
    )
    if connection.execute(statement).rowcount != 1:
        raise LeaseLostError
