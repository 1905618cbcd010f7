"""What must hold after every fault: what was accepted was done, and each effect stands in Postgres once."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

from rig.receiver import Call

_DELIVERIES = """
SELECT id, status, payload, last_error, completed_at IS NOT NULL AS completed,
       (SELECT count(*) FROM delivery_attempts WHERE delivery_id = d.id) AS attempts,
       (SELECT count(*) FROM delivery_attempts WHERE delivery_id = d.id AND status_code BETWEEN 200 AND 299)
           AS successes
FROM deliveries d
"""
_JOBS = """
SELECT subject_id, state, attempt, max_attempts, lease_until, claimed_by FROM jobs WHERE kind LIKE 'delivery%'
"""
_OPEN = "SELECT count(*) FROM jobs WHERE state IN ('pending', 'running')"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What an oracle saw. `calls` is how many requests reached the receiver, `repeated` those beyond the first of each
    delivery: they are allowed, with the same id."""

    accepted: int
    calls: int
    repeated: int


def open_jobs(url: str) -> int | None:
    """How many jobs wait or run; None while Postgres cannot be asked."""
    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            row = connection.execute(_OPEN).fetchone()
    except psycopg.Error:
        return None
    return int(row[0]) if row else None


def query(url: str, statement: str, *values: Any) -> list[Any]:
    with psycopg.connect(url, row_factory=namedtuple_row) as connection:
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def assert_exactly_once(
    url: str,
    accepted: Collection[uuid.UUID],
    calls: dict[uuid.UUID, list[Call]],
    *,
    failed: Collection[uuid.UUID] = (),
) -> Found:
    """Hold Postgres and the receiver against the accepted ids. `failed` are those among them that had to fail.

    Nothing beside the accepted ids may exist: the caller repeats a request whose answer it missed.
    """
    deliveries = {row.id: row for row in query(url, _DELIVERIES)}
    jobs = query(url, _JOBS)
    assert len(set(accepted)) == len(accepted), "one delivery was accepted under two keys"
    assert set(deliveries) == set(accepted), _difference(set(deliveries), set(accepted))
    assert sorted(job.subject_id for job in jobs) == sorted(accepted), "not one job for each delivery"
    for delivery_id, row in deliveries.items():
        expected = ("failed", 0) if delivery_id in failed else ("delivered", 1)
        assert (row.status, row.successes) == expected, row
        assert row.completed, row
        assert row.last_error is None or delivery_id in failed, row
    for job in jobs:
        assert job.state == ("dead" if job.subject_id in failed else "done"), job
        assert (job.lease_until, job.claimed_by) == (None, None), job
        assert 1 <= job.attempt <= job.max_attempts, job
    unknown = set(calls) - set(deliveries)
    assert not unknown, f"calls for what was never accepted: {unknown}"
    for delivery_id, row in deliveries.items():
        made = calls.get(delivery_id, [])
        assert made or delivery_id in failed, f"no call for {delivery_id}"
        assert all(call.body == row.payload for call in made), f"calls of {delivery_id} differ in their body"
        assert row.attempts <= len(made) or delivery_id in failed, f"more attempts stored than calls made: {row}"
    count = sum(map(len, calls.values()))
    return Found(accepted=len(accepted), calls=count, repeated=count - len(calls))


def _difference(stored: set[uuid.UUID], accepted: set[uuid.UUID]) -> str:
    return f"accepted and not stored: {accepted - stored}; stored and not accepted: {stored - accepted}"
