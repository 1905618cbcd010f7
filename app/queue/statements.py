"""The statements that claim and store jobs, with the parts of the kinds of jobs in them, on a given connection.

A worker owns a job from its claim until it stores the outcome or the lease ends. Every statement after the claim names
the attempt and the owner (the fence), so a worker that was away for longer than its lease (a paused container, a cut
network) changes nothing when it comes back: its jobs are missing from what `store` returns, and so are their effects.

All of it works on many jobs at once. A round trip and a commit for each job is what a worker's time went into.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, func, select, text

from app.observability.logging import get_logger
from app.queue.handler import Effects
from app.queue.job import INTERNAL_ERROR, Job, Outcome
from app.queue.models import Job as Row

log = get_logger()

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
_STORE = """
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
        RETURNING jobs.id, jobs.kind, jobs.subject_id, ended.state, ended.error, ended.detail, ended.begun
    )
"""
_STORE_ONE = "jobs.id = ended.id"
_STORE_MANY = """jobs.id = ended.id AND jobs.id IN (
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
# Jobs whose worker vanished; none that somebody else is at (its claim or its store is under way).
_EXPIRE = """
    WITH finished AS (
        UPDATE jobs SET
            state = :state,
            run_at = CASE WHEN :last THEN jobs.run_at ELSE now() END,
            enqueued_at = CASE WHEN :last THEN jobs.enqueued_at ELSE now() END,
            finished_at = CASE WHEN :last THEN now() ELSE jobs.finished_at END,
            last_error = :error,
            lease_until = NULL,
            claimed_by = NULL
        WHERE jobs.id IN (
            SELECT id FROM jobs
            WHERE queue = :queue AND state = 'running' AND lease_until < now() AND (attempt >= max_attempts) = :last
            ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
        )
        RETURNING jobs.id, jobs.kind, jobs.subject_id, jobs.state, jobs.last_error AS error,
            CAST(NULL AS json) AS detail, true AS begun
    )
"""
_STORED: Final = " SELECT id FROM finished"
_EXPIRED: Final = " SELECT id, kind, subject_id FROM finished"


class Statements:
    """For jobs of these kinds: what they do in the database, and how long their leases are, in seconds."""

    def __init__(self, effects: Mapping[str, Effects], leases: Mapping[str, float]) -> None:
        self._effects, self._leases = effects, leases
        self._stored = {kind for kind, one in effects.items() if one.store}
        names = {kind: f"kind_{number}" for number, kind in enumerate(effects)}
        begins = [one.begin.format(mine=_mine("claimed", names[kind])) for kind, one in effects.items()]
        parts = [
            part.format(mine=_mine("finished", names[kind])) for kind, one in effects.items() for part in one.store
        ]
        begin, effect = _numbered("begun", begins) + _begun(len(begins)), _numbered("effect", parts)
        kinds = {name: kind for kind, name in names.items()}
        stored = {name: kind for name, kind in kinds.items() if kind in self._stored}
        self._claims = [
            text(_CLAIM.format(which=which) + begin).bindparams(**kinds) for which in (_CLAIM_ONE, _CLAIM_MANY)
        ]
        self._stores = [
            text(_STORE.format(which=which) + effect + _STORED).bindparams(**stored)
            for which in (_STORE_ONE, _STORE_MANY)
        ]
        self._expire = text(_EXPIRE + effect + _EXPIRED).bindparams(**stored)

    def claim(self, connection: Connection, jobs: Sequence[Job], *, worker: str, at: float) -> list[Job]:
        """Take those of the jobs that can be taken and are of these kinds, and fill them in; in no order."""
        known = [{"kind": kind, "lease": lease} for kind, lease in self._leases.items()]
        given = {"ids": _array(job.id for job in jobs), "worker": worker, "known": json.dumps(known)}
        by_id = {job.id: job for job in jobs}
        won = []
        for row in connection.execute(self._claims[len(jobs) > 1], given):
            job = by_id.pop(row.job_id)
            job.kind, job.subject_id = row.kind, row.subject_id
            job.attempt, job.max_attempts = row.attempt, row.max_attempts
            job.correlation_id, job.traceparent, job.waited = row.correlation_id, row.traceparent, row.waited
            job.worker, job.lease, job.claimed_at = worker, self._leases[row.kind], at
            self._begin(job, row.work)
            won.append(job)
        return won

    def _begin(self, job: Job, work: Any) -> None:
        if work is None:
            return
        try:
            job.work = self._effects[job.kind].read(work)
        except Exception:  # what one row holds must not keep the other jobs from starting
            log.exception("job cannot be begun", **job.facts())
            job.outcome = Outcome(result="retry", error=INTERNAL_ERROR)

    def store(self, connection: Connection, jobs: Sequence[Job]) -> set[uuid.UUID]:
        """Store what came of the attempts, with their kinds' effects; the ids of the jobs whose lease still held."""
        return set(connection.execute(self._stores[len(jobs) > 1], {"rows": self._rows(jobs)}).scalars())

    def stored_before(self, connection: Connection, jobs: Sequence[Job]) -> dict[uuid.UUID, bool]:
        """Which of these outcomes were stored by an earlier `store`, whose answer was lost: True, or False for a job
        that has been claimed again since, which says that it was stored only while the ended claim's lease holds."""
        return {row.id: row.exactly for row in connection.execute(_STANDS, {"rows": self._rows(jobs)})}

    def expire(self, connection: Connection, *, queue: str, last: bool, error: str) -> list[Job]:
        """End the attempts whose lease is over, `last`: those with none left; the jobs, whose worker may be well."""
        given = {"queue": queue, "last": last, "state": "dead" if last else "pending", "error": error}
        outcome = Outcome(result="dead" if last else "retry", error=error)
        rows = connection.execute(self._expire, given)
        return [Job(id=row.id, kind=row.kind, subject_id=row.subject_id, outcome=outcome) for row in rows]

    def _rows(self, jobs: Sequence[Job]) -> str:
        rows = []
        for job in jobs:
            outcome = job.ended_as
            rows.append(
                {
                    "id": str(job.id),
                    "attempt": job.attempt,
                    "worker": job.worker,
                    "state": outcome.row_state,
                    "seconds": job.wait or 0.0,
                    # That the number of an attempt that did not count is used again is safe: the owner is fenced too,
                    # and no worker claims a job that it still holds.
                    "given_back": 1 if outcome.result == "wait" else 0,
                    "error": outcome.error,
                    "begun": outcome.begun,
                    "detail": outcome.detail if job.kind in self._stored else None,
                }
            )
        return json.dumps(rows, ensure_ascii=False)


def owned(connection: Connection, job_ids: Collection[uuid.UUID], *, worker: str) -> list[Job]:
    """The jobs among these that the worker has claimed, whether it noted that or not; their `lease` says nothing."""
    statement = select(Row.id, Row.kind, Row.subject_id, Row.attempt, Row.max_attempts, Row.correlation_id).where(
        Row.id.in_(job_ids), Row.state == "running", Row.claimed_by == worker
    )
    return [Job(worker=worker, **row._mapping) for row in connection.execute(statement)]


def look_up_waits(connection: Connection, jobs: Sequence[Job]) -> None:
    """Of these jobs, those that are not due yet get the seconds to `wait`."""
    by_id = {job.id: job for job in jobs}
    seconds = func.extract("epoch", Row.run_at - func.now())
    statement = select(Row.id, seconds.label("seconds")).where(
        Row.id.in_(by_id), Row.state == "pending", Row.run_at > func.now()
    )
    for row in connection.execute(statement):
        by_id[row.id].wait = float(row.seconds)


def _array(ids: Iterable[uuid.UUID]) -> str:
    return f"{{{','.join(map(str, ids))}}}"


def _mine(rows: str, kind: str) -> str:
    return f"(SELECT * FROM {rows} WHERE kind = :{kind})"  # noqa: S608


def _numbered(name: str, parts: Sequence[str]) -> str:
    return "".join(f", {name}_{number} AS ({part})" for number, part in enumerate(parts))


def _begun(kinds: int) -> str:
    """The rest of a claim that has so many kinds' work in it."""
    if not kinds:
        return "SELECT claimed.*, CAST(NULL AS json) AS work FROM claimed"
    works = " UNION ALL ".join(
        f"SELECT :kind_{number} AS kind, id, work FROM begun_{number}"  # noqa: S608
        for number in range(kinds)
    )
    return f"""
        SELECT claimed.*, begun.work FROM claimed
        LEFT JOIN ({works}) AS begun ON begun.kind = claimed.kind AND begun.id = claimed.subject_id
    """  # noqa: S608
