"""Who may act on a job: a lease in Postgres, fenced by the attempt number.

A worker owns a job from its claim until it finishes it or the lease ends. Every statement after the claim names the
attempt and the owner, so a worker that was away for longer than its lease (a paused container, a cut network) changes
nothing when it comes back: its jobs are missing from what `finish` returns, and it must not store their effects.

All of it works on many jobs at once. A round trip and a commit for each job is what a worker's time went into.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from sqlalchemy import Connection, Float, and_, case, func, literal, or_, select, text, update

from app.db.models import Job

State = Literal["pending", "done", "dead"]

# Several jobs by arrays, not by as many statements: psycopg sends and Postgres plans it once.
_FINISH = text("""
    UPDATE jobs SET
        state = ended.state,
        attempt = jobs.attempt - ended.given_back,
        run_at = CASE WHEN ended.state = 'pending' THEN now() + make_interval(secs => ended.seconds)
                 ELSE jobs.run_at END,
        enqueued_at = CASE WHEN ended.state = 'pending' THEN NULL ELSE jobs.enqueued_at END,
        finished_at = CASE WHEN ended.state = 'pending' THEN NULL ELSE now() END,
        last_error = ended.error,
        lease_until = NULL,
        claimed_by = NULL
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:workers AS text[]), CAST(:states AS text[]),
        CAST(:seconds AS float8[]), CAST(:given_back AS int[]), CAST(:errors AS text[])
    ) AS ended (id, attempt, worker, state, seconds, given_back, error)
    WHERE jobs.id = ended.id AND jobs.state = 'running'
        AND jobs.attempt = ended.attempt AND jobs.claimed_by = ended.worker
    RETURNING jobs.id
""")


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


@dataclass(frozen=True, kw_only=True)
class Claims:
    """`won`: in no order. `not_yet`: seconds until those are to run. What is in neither is done, dead, another
    worker's, or of a kind that this worker does not know."""

    won: list[Claim] = field(default_factory=list)
    not_yet: dict[uuid.UUID, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Finish:
    """What becomes of a claimed job. `seconds`: the wait of a pending one. `counted`: whether the attempt was one.

    That the number of an attempt that was not counted is used again is safe: the owner is fenced too, and no worker
    claims a job that it still holds.
    """

    claim: Claim
    state: State
    seconds: float = 0.0
    error: str | None = None
    counted: bool = True


def claim(connection: Connection, *, job_ids: Sequence[uuid.UUID], worker: str, leases: Mapping[str, float]) -> Claims:
    """Take those of the jobs that can be taken.

    `leases`: seconds by kind. During a deploy an old worker meets new kinds; it leaves them to the new ones.
    """
    lease = case(*((Job.kind == kind, literal(timedelta(seconds=seconds))) for kind, seconds in leases.items()))
    rows = connection.execute(
        update(Job)
        .where(
            Job.id.in_(job_ids),
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
            *(Job.id.label("job_id"), Job.kind, Job.subject_id, Job.attempt, Job.max_attempts),
            *(Job.correlation_id, Job.traceparent),
            func.extract("epoch", func.now() - Job.run_at).cast(Float).label("waited"),
        )
    ).all()
    won = [Claim(worker=worker, lease=leases[row.kind], **row._mapping) for row in rows]
    others = set(job_ids) - {claimed.job_id for claimed in won}
    return Claims(won=won, not_yet=_not_yet(connection, others) if others else {})


def finish(connection: Connection, finished: Sequence[Finish]) -> set[uuid.UUID]:
    """End the claims; the ids of the jobs whose lease still held. Only those may have their effect stored."""
    claims = [one.claim for one in finished]
    rows = connection.execute(
        _FINISH,
        {
            "ids": [claimed.job_id for claimed in claims],
            "attempts": [claimed.attempt for claimed in claims],
            "workers": [claimed.worker for claimed in claims],
            "states": [one.state for one in finished],
            "seconds": [float(one.seconds) for one in finished],
            "given_back": [0 if one.counted else 1 for one in finished],
            "errors": [one.error for one in finished],
        },
    )
    return set(rows.scalars())


def _not_yet(connection: Connection, job_ids: set[uuid.UUID]) -> dict[uuid.UUID, float]:
    seconds = func.extract("epoch", Job.run_at - func.now())
    rows = connection.execute(
        select(Job.id, seconds.label("seconds")).where(
            Job.id.in_(job_ids), Job.state == "pending", Job.run_at > func.now()
        )
    )
    return {row.id: float(row.seconds) for row in rows}
