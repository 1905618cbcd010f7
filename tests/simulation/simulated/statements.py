"""The statements that the queue keeps as text, as the simulated Postgres does them.

Each is recognised by its text, and what it does depends on that text: rows are locked in order only where the text says
so, and the delivery's part is done where it was spliced in. `test_conformance` holds each against a real server.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Hashable
from typing import Any

from psycopg import errors as states

from app.db import errors
from simulated.postgres_server import Row, Transaction, Work

POISON = "\x00poison"
"""In an attempt's error: a value that Postgres refuses to store."""


def execute(transaction: Transaction, text: str, given: dict[str, Any]) -> Work:
    if text == errors.WRITE_PROBE:
        return _probe(transaction)
    for fragment, statement in _STATEMENTS.items():
        if fragment in text:
            return statement(transaction, text, given)
    raise NotImplementedError(f"the simulated Postgres does not know this statement:\n{text}")


def _probe(tx: Transaction) -> Work:
    if tx.server.read_only:
        raise states.ReadOnlySqlTransaction("cannot execute SELECT FOR UPDATE in a read-only transaction")
    yield 0.0
    return [{"column": 1}]


def _ids(text: str) -> list[uuid.UUID]:
    return [uuid.UUID(one) for one in text.strip("{}").split(",") if one]


def _locked_first(tx: Transaction, text: str, table: str, keys: list[Any]) -> Work:
    """Of a statement on many rows: locks them in the order of their ids, if its text has that subquery."""
    if "FOR NO KEY UPDATE" in text:
        for key in sorted(keys):
            yield from tx.lock((table, key))
    return None


def _claim(tx: Transaction, text: str, given: dict[str, Any]) -> Work:
    tx.hurried = "'synchronous_commit', 'off'" not in text
    leases = {one["kind"]: one["lease"] for one in json.loads(given["known"])}

    def free(row: Row) -> bool:
        pending = row["state"] == "pending" and row["run_at"] <= tx.at
        abandoned = row["state"] == "running" and row["lease_until"] < tx.at
        return row["kind"] in leases and row["attempt"] < row["max_attempts"] and (pending or abandoned)

    jobs = tx.snapshot["jobs"]
    ids = [one for one in _ids(given["ids"]) if one in jobs]
    yield from _locked_first(tx, text, "jobs", [one for one in ids if jobs[one]["state"] in ("pending", "running")])
    claimed: list[Row] = []
    for job_id in tx.plan_order(one for one in dict.fromkeys(ids) if free(jobs[one])):
        yield from tx.lock(("jobs", job_id))
        row = tx.latest("jobs", job_id)
        if row is None or not free(row):
            continue
        new = {
            **row,
            "state": "running",
            "attempt": row["attempt"] + 1,
            "lease_until": tx.at + leases[row["kind"]],
            "claimed_by": given["worker"],
            "enqueued_at": row["enqueued_at"] or tx.at,
        }
        tx.write("jobs", job_id, new)
        tx.facts.append(("claim", row, new))
        claimed.append(new)
    works: dict[Hashable, Any] = {}
    if "status = 'delivering'" in text:
        for job in tx.plan_order(job for job in claimed if job["kind"] == "delivery"):
            yield from tx.lock(("deliveries", job["subject_id"]))
            delivery = tx.latest("deliveries", job["subject_id"])
            if delivery is not None:
                tx.write("deliveries", delivery["id"], {**delivery, "status": "delivering", "updated_at": tx.at})
                works[delivery["id"]] = {
                    "url": delivery["url"], "body": delivery["payload_text"], "payload": None,
                    "headers": delivery["headers"],
                }  # fmt: skip
    names = ("kind", "subject_id", "attempt", "max_attempts", "correlation_id", "traceparent")
    return [
        {
            "job_id": job["id"],
            **{name: job[name] for name in names},
            "waited": tx.at - job["run_at"],
            "work": works.get(job["subject_id"]),
        }
        for job in tx.plan_order(claimed)
    ]


def _finish(tx: Transaction, text: str, given: dict[str, Any]) -> Work:
    ends = {uuid.UUID(one["id"]): one for one in json.loads(given["rows"])}
    if any(POISON in json.dumps(one["detail"]) or "\\u0000" in json.dumps(one["detail"]) for one in ends.values()):
        raise states.ProgramLimitExceeded("a value that no index takes")

    def held(row: Row, end: dict[str, Any]) -> bool:
        return all(
            row[column] == wanted
            for column, wanted, condition in (
                ("state", "running", "jobs.state = 'running'"),
                ("attempt", end["attempt"], "jobs.attempt = ended.attempt"),
                ("claimed_by", end["worker"], "jobs.claimed_by = ended.worker"),
            )
            if condition in text
        )

    jobs = tx.snapshot["jobs"]
    found = [one for one in ends if one in jobs]
    yield from _locked_first(tx, text, "jobs", [one for one in found if jobs[one]["state"] == "running"])
    finished: list[tuple[Row, dict[str, Any]]] = []
    for job_id in tx.plan_order(one for one in found if held(jobs[one], ends[one])):
        yield from tx.lock(("jobs", job_id))
        row, end = tx.latest("jobs", job_id), ends[job_id]
        if row is None or not held(row, end):
            continue
        pending = end["state"] == "pending"
        new = {
            **row,
            "state": end["state"],
            "attempt": row["attempt"] - end["given_back"],
            "run_at": tx.at + end["seconds"] if pending else row["run_at"],
            "enqueued_at": None if pending else row["enqueued_at"],
            "finished_at": None if pending else tx.at,
            "last_error": end["error"] if end["begun"] else row["last_error"],
            "lease_until": None,
            "claimed_by": None,
        }
        tx.write("jobs", job_id, new)
        tx.facts.append(("finish", row, new))
        finished.append((new, end))
    if "INSERT INTO delivery_attempts" in text:
        yield from _store_deliveries(tx, [(job, end) for job, end in finished if job["kind"] == "delivery"])
    return [{"id": job["id"]} for job, _ in tx.plan_order(finished)]


def _store_deliveries(tx: Transaction, finished: list[tuple[Row, dict[str, Any]]]) -> Work:
    status = {"done": "delivered", "dead": "failed"}
    for job, end in tx.plan_order(finished):
        key = job["subject_id"]
        yield from tx.lock(("deliveries", key))
        delivery = tx.latest("deliveries", key)
        if delivery is None:
            continue
        tx.write(
            "deliveries",
            key,
            {
                **delivery,
                "status": status.get(end["state"], "pending"),
                "last_error": end["error"] if end["begun"] else delivery["last_error"],
                "updated_at": tx.at,
                "completed_at": None if end["state"] == "pending" else tx.at,
            },
        )
        if isinstance(end["detail"], dict):
            numbers = [one["number"] for one in tx.snapshot["delivery_attempts"].values() if one["delivery_id"] == key]
            number = max(numbers, default=0) + 1
            attempt = {"id": (key, number), "delivery_id": key, "number": number, **end["detail"]}
            tx.write("delivery_attempts", (key, number), attempt)
    return None


def _expire(tx: Transaction, text: str, given: dict[str, Any]) -> Work:
    """Ends the attempts whose lease is over, but for the jobs that somebody else is at."""

    def over(row: Row) -> bool:
        last = (row["attempt"] >= row["max_attempts"]) == given["last"]
        return row["queue"] == given["queue"] and row["state"] == "running" and row["lease_until"] < tx.at and last

    yield 0.0
    finished: list[tuple[Row, dict[str, Any]]] = []
    for job_id in sorted(key for key, row in tx.snapshot["jobs"].items() if over(row)):
        if not tx.try_lock(("jobs", job_id)):
            continue
        row = tx.latest("jobs", job_id)
        if row is None or not over(row):
            continue
        last = given["last"]
        new = {
            **row,
            "state": given["state"],
            "run_at": row["run_at"] if last else tx.at,
            "enqueued_at": row["enqueued_at"] if last else tx.at,
            "finished_at": tx.at if last else row["finished_at"],
            "last_error": given["error"],
            "lease_until": None,
            "claimed_by": None,
        }
        tx.write("jobs", job_id, new)
        tx.facts.append(("expire", row, new))
        finished.append((new, {"state": given["state"], "error": given["error"], "detail": None, "begun": True}))
    yield from _store_deliveries(tx, [(job, end) for job, end in finished if job["kind"] == "delivery"])
    return [{"id": job["id"], "kind": job["kind"], "subject_id": job["subject_id"]} for job, _ in finished]


def _stands(tx: Transaction, text: str, given: dict[str, Any]) -> Work:
    yield 0.0
    found = []
    for end in json.loads(given["rows"]):
        row = tx.snapshot["jobs"].get(uuid.UUID(end["id"]))
        if row is None:
            continue
        same = (row["state"], row["attempt"]) == (end["state"], end["attempt"] - end["given_back"])
        if (same and row["claimed_by"] is None and row["last_error"] == end["error"]) or (
            row["attempt"] > end["attempt"]
        ):
            found.append({"id": row["id"], "exactly": row["attempt"] <= end["attempt"]})
    return found


def _add(tx: Transaction, text: str, given: dict[str, Any]) -> Work:
    if tx.server.read_only:
        raise states.ReadOnlySqlTransaction("cannot execute INSERT in a read-only transaction")
    added = []
    for one in json.loads(given["rows"]):
        taken = ("keys", (one["user_id"], one["idempotency_key"]))
        if one["idempotency_key"] is not None:
            # A key that another transaction is about to add is waited for.
            yield from tx.lock(taken)
            deliveries = [*tx.server.tables["deliveries"].values(), *(row for row in added)]
            if any((str(row["user_id"]), row["idempotency_key"]) == taken[1] for row in deliveries):
                continue
        delivery = {
            "id": uuid.UUID(one["id"]), "user_id": uuid.UUID(one["user_id"]), "url": one["url"],
            "payload": one["payload"], "payload_text": one["payload_text"], "headers": one["headers"],
            "max_attempts": one["max_attempts"], "status": "pending", "idempotency_key": one["idempotency_key"],
            "request_hash": None if one["request_hash"] is None else bytes.fromhex(one["request_hash"]),
            "last_error": None,
            "created_at": tx.at, "updated_at": tx.at, "completed_at": None,
        }  # fmt: skip
        added.append(delivery)
        tx.write("deliveries", delivery["id"], delivery)
        job = {
            "id": uuid.UUID(one["job_id"]), "kind": given["kind"], "queue": given["queue"],
            "subject_id": delivery["id"], "state": "pending", "attempt": 0, "max_attempts": one["max_attempts"],
            "run_at": tx.at, "enqueued_at": None, "lease_until": None, "claimed_by": None,
            "correlation_id": one["correlation_id"], "traceparent": one["traceparent"], "last_error": None,
            "created_at": tx.at, "finished_at": None,
        }  # fmt: skip
        tx.write("jobs", job["id"], job)
        tx.facts.append(("add", delivery, job))
    yield tx.rng.random() * 0.003
    return [{"subject_id": row["id"]} for row in added]


_STATEMENTS = {
    "INSERT INTO deliveries": _add,
    "AS exactly": _stands,
    "FOR NO KEY UPDATE SKIP LOCKED": _expire,
    "finished AS (": _finish,
    "claimed AS (": _claim,
}
