"""Who may act on a job: a lease in Postgres, fenced by the attempt number.

A worker owns a job from its claim until it finishes it or the lease ends. Every statement after the claim names the
attempt and the owner, so a worker that was away for longer than its lease (a paused container, a cut network) changes
nothing when it comes back: its jobs are missing from what `finish` returns, and it must not store their effects.

All of it works on many jobs at once. A round trip and a commit for each job is what a worker's time went into.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Connection, TextClause, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from app.queue.models import Job

State = Literal["pending", "done", "dead"]

# Several jobs in one parameter, not by as many statements: psycopg sends and Postgres plans it once. As text, because
# SQLAlchemy took longer to put these together than Postgres to run them; as JSON, because psycopg writes arrays in
# Python, element by element.
#
# A claim that a crash of Postgres forgets is one that was never made: its worker is fenced out. So nobody has to wait
# for the disk, which the claim says for its own transaction.
#
# Jobs are locked in the order of their ids, whatever the plan: two batches may hold the same ones (an id that is twice
# on the queue; a lease that ends while its result is stored), and in opposite orders each would wait for the other. A
# job alone has an order anyway, and is spared the lock: with 150 deliveries a second most batches are of one.
_CLAIM = """
    WITH unhurried AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
    claimed AS (
        UPDATE jobs SET
            state = 'running',
            attempt = jobs.attempt + 1,
            lease_until = now() + make_interval(secs => known.lease),
            claimed_by = :worker,
            enqueued_at = coalesce(jobs.enqueued_at, now())
        FROM unhurried, json_to_recordset(CAST(:known AS json)) AS known (kind text, lease float8)
        WHERE {which} AND jobs.kind = known.kind AND jobs.attempt < jobs.max_attempts
            AND (jobs.state = 'pending' AND jobs.run_at <= now() OR jobs.state = 'running' AND jobs.lease_until < now())
        RETURNING jobs.id AS job_id, jobs.kind, jobs.subject_id, jobs.attempt, jobs.max_attempts,
            jobs.correlation_id, jobs.traceparent, CAST(extract(epoch FROM now() - jobs.run_at) AS float8) AS waited
    )
"""
_CLAIM_ONE = "jobs.id = ANY(CAST(:ids AS uuid[]))"
_CLAIM_MANY = """jobs.id IN (
    SELECT id FROM jobs WHERE id = ANY(CAST(:ids AS uuid[])) AND state IN ('pending', 'running')
    ORDER BY id FOR NO KEY UPDATE
)"""
_FINISH = """
    WITH ended AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS ended (
            id uuid, attempt int, worker text, state text, seconds float8, given_back int, error text, begun bool,
            detail json
        )
    ),
    finished AS (
        UPDATE jobs SET
            state = ended.state,
            attempt = jobs.attempt - ended.given_back,
            run_at = CASE WHEN ended.state = 'pending' THEN now() + make_interval(secs => ended.seconds)
                     ELSE jobs.run_at END,
            enqueued_at = CASE WHEN ended.state = 'pending' THEN NULL ELSE jobs.enqueued_at END,
            finished_at = CASE WHEN ended.state = 'pending' THEN NULL ELSE now() END,
            last_error = CASE WHEN ended.begun THEN ended.error ELSE jobs.last_error END,
            lease_until = NULL,
            claimed_by = NULL
        FROM ended
        WHERE {which} AND jobs.state = 'running'
            AND jobs.attempt = ended.attempt AND jobs.claimed_by = ended.worker
        RETURNING jobs.id, jobs.kind, jobs.subject_id, ended.state, ended.error, ended.detail
    )
"""
_FINISH_ONE = "jobs.id = ended.id"
_FINISH_MANY = """jobs.id = ended.id AND jobs.id IN (
    SELECT jobs.id FROM jobs JOIN ended USING (id) WHERE jobs.state = 'running'
    ORDER BY jobs.id FOR NO KEY UPDATE OF jobs
)"""
# Which of these ends stand in the rows already: `exactly`, or under a later attempt. Nobody else's end would look the
# same, because a claim makes the attempt higher, and what the sweeper writes has an error of its own.
_STANDS = text("""
    SELECT jobs.id, jobs.attempt <= ended.attempt AS exactly
    FROM jobs JOIN json_to_recordset(CAST(:rows AS json)) AS ended (
        id uuid, attempt int, state text, given_back int, error text
    ) USING (id)
    WHERE jobs.state = ended.state AND jobs.attempt = ended.attempt - ended.given_back AND jobs.claimed_by IS NULL
        AND jobs.last_error IS NOT DISTINCT FROM ended.error OR jobs.attempt > ended.attempt
""")
_LOOK_AGAIN = 1.0
_FINISHED = " SELECT id FROM finished"
_MINE = "(SELECT * FROM {} WHERE kind = :kind_{})"


@dataclass(frozen=True, kw_only=True)
class Inline:
    """What a kind of job does in the database, as parts of the statements that claim and finish jobs.

    One statement is one transaction and one round trip, and that is most of what a short job costs.

    `{mine}` stands for the rows of the kind, to be given an alias. begin: those claimed (subject_id); it returns the
    subject's `id` and, as JSON, what `run` needs (`work`). store: those whose lease held (subject_id, state, error,
    detail); all parts see the rows as they were before the statement. work: makes of that JSON what `run` takes.
    detail: makes JSON of an outcome's.
    """

    begin: str
    store: Sequence[str]
    work: Callable[[Any], Any]
    detail: Callable[[Any], Mapping[str, Any] | None]


class Statements:
    """The statements for jobs of these kinds, `inline` by kind: those of other kinds are claimed and finished alone."""

    def __init__(self, inline: Mapping[str, Inline]) -> None:
        begins, effects, kinds = [], [], {}
        for number, (kind, one) in enumerate(inline.items()):
            kinds[f"kind_{number}"] = kind
            begins.append(one.begin.format(mine=_MINE.format("claimed", number)))
            effects += [part.format(mine=_MINE.format("finished", number)) for part in one.store]
        claimed = _numbered("begun", begins) + _claimed(len(begins))
        finished = _numbered("effect", effects) + _FINISHED
        self._claims, self._finishes = (
            [text(step.format(which=which) + rest).bindparams(**kinds) for which in (one, many)]
            for step, one, many, rest in (
                (_CLAIM, _CLAIM_ONE, _CLAIM_MANY, claimed),
                (_FINISH, _FINISH_ONE, _FINISH_MANY, finished),
            )
        )

    def claim(self, jobs: int) -> TextClause:
        """For so many jobs."""
        return self._claims[jobs > 1]

    def finish(self, jobs: int) -> TextClause:
        """For so many jobs."""
        return self._finishes[jobs > 1]


def _numbered(name: str, parts: Sequence[str]) -> str:
    return "".join(f", {name}_{number} AS ({part})" for number, part in enumerate(parts))


def _claimed(begun: int) -> str:
    """The rest of a claim that has so many kinds' work in it."""
    if not begun:
        return "SELECT claimed.*, CAST(NULL AS json) AS work FROM claimed"
    works = " UNION ALL ".join(
        f"SELECT :kind_{number} AS kind, id, work FROM begun_{number}"  # noqa: S608
        for number in range(begun)
    )
    return f"""
        SELECT claimed.*, begun.work FROM claimed
        LEFT JOIN ({works}) AS begun ON begun.kind = claimed.kind AND begun.id = claimed.subject_id
    """  # noqa: S608


ALONE = Statements({})


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
    """`won`: in no order. `works`: what `run` needs, by job, as far as the kind's `begin` is inline and the subject
    there. `not_yet`: seconds until those are to run. What is in none is done, dead, another worker's, or of a kind that
    this worker does not know."""

    won: list[Claim] = field(default_factory=list)
    works: dict[uuid.UUID, Any] = field(default_factory=dict)
    not_yet: dict[uuid.UUID, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Finish:
    """What becomes of a claimed job. `seconds`: the wait of a pending one. `counted`: whether the attempt was one.
    `detail`: for the `store` of an inline kind. `begun`: an attempt that had not begun leaves the last error as it was.

    That the number of an attempt that was not counted is used again is safe: the owner is fenced too, and no worker
    claims a job that it still holds.
    """

    claim: Claim
    state: State
    seconds: float = 0.0
    error: str | None = None
    counted: bool = True
    begun: bool = True
    detail: Mapping[str, Any] | None = None


def claim(
    connection: Connection,
    *,
    job_ids: Sequence[uuid.UUID],
    worker: str,
    leases: Mapping[str, float],
    statements: Statements = ALONE,
) -> Claims:
    """Take those of the jobs that can be taken.

    `leases`: seconds by kind. During a deploy an old worker meets new kinds; it leaves them to the new ones.
    """
    known = [{"kind": kind, "lease": lease} for kind, lease in leases.items()]
    ids = ",".join(str(job_id) for job_id in job_ids)
    statement = statements.claim(len(job_ids))
    rows = connection.execute(statement, {"ids": f"{{{ids}}}", "worker": worker, "known": json.dumps(known)})
    claims = Claims()
    for row in rows:
        facts = dict(row._mapping)
        work = facts.pop("work")
        claims.won.append(Claim(worker=worker, lease=leases[row.kind], **facts))
        if work is not None:
            claims.works[row.job_id] = work
    if others := set(job_ids) - {claimed.job_id for claimed in claims.won}:
        claims.not_yet.update(_not_yet(connection, others))
    return claims


def finish(connection: Connection, finished: Sequence[Finish], *, statements: Statements = ALONE) -> set[uuid.UUID]:
    """End the claims; the ids of the jobs whose lease still held. Only those may have their effect stored."""
    statement = statements.finish(len(finished))
    return set(connection.execute(statement, {"rows": _rows(finished)}).scalars())


def stands(connection: Connection, finished: Sequence[Finish]) -> dict[uuid.UUID, bool]:
    """Which of these ends were stored by an earlier `finish`, whose answer was lost: True, or False for a job that has
    been claimed again since, which says that it was stored only while the lease of the ended claim holds."""
    return {row.id: row.exactly for row in connection.execute(_STANDS, {"rows": _rows(finished)})}


def owned(connection: Connection, job_ids: Iterable[uuid.UUID], *, worker: str) -> list[Claim]:
    """The claims that the worker has on these jobs, whether it knows of them or not; their `lease` says nothing."""
    statement = select(
        Job.id.label("job_id"),
        Job.kind,
        Job.subject_id,
        Job.attempt,
        Job.max_attempts,
        Job.correlation_id,
        Job.traceparent,
    ).where(Job.id.in_(job_ids), Job.state == "running", Job.claimed_by == worker)
    return [Claim(worker=worker, lease=0.0, **row._mapping) for row in connection.execute(statement)]


def _rows(finished: Sequence[Finish]) -> str:
    rows = [
        {
            "id": str(one.claim.job_id),
            "attempt": one.claim.attempt,
            "worker": one.claim.worker,
            "state": one.state,
            "seconds": one.seconds,
            "given_back": 0 if one.counted else 1,
            "error": one.error,
            "begun": one.begun,
            "detail": one.detail,
        }
        for one in finished
    ]
    return json.dumps(rows, ensure_ascii=False)


def _not_yet(connection: Connection, job_ids: set[uuid.UUID]) -> dict[uuid.UUID, float]:
    seconds = func.extract("epoch", Job.run_at - func.now())
    statement = select(Job.id, seconds.label("seconds")).where(
        Job.id.in_(job_ids), Job.state == "pending", Job.run_at > func.now()
    )
    try:
        return {row.id: float(row.seconds) for row in connection.execute(statement)}
    except SQLAlchemyError:
        # The claim has been committed: a failure now would keep what it won from everybody until the leases end.
        return dict.fromkeys(job_ids, _LOOK_AGAIN)
