"""Queries on deliveries. The caller opens and commits the transaction."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, Select, Text, cast, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.deliveries.models import Delivery, DeliveryAttempt

_ATTEMPTS = (
    select(func.count())
    .where(DeliveryAttempt.delivery_id == Delivery.id)
    .correlate(Delivery)
    .scalar_subquery()
    .label("attempt_count")
)
_SUMMARY = (
    Delivery.id,
    Delivery.url,
    Delivery.status,
    Delivery.max_attempts,
    _ATTEMPTS,
    Delivery.last_error,
    Delivery.created_at,
    Delivery.updated_at,
    Delivery.completed_at,
)


@dataclass(frozen=True, kw_only=True)
class NewDelivery:
    """A delivery and its first job."""

    id: uuid.UUID = field(default_factory=uuid.uuid4)
    job_id: uuid.UUID = field(default_factory=uuid.uuid4)
    user_id: uuid.UUID
    url: str
    payload: Any
    payload_text: str
    """The payload as it is sent and shown."""
    headers: dict[str, str]
    max_attempts: int
    idempotency_key: str | None
    request_hash: bytes | None
    correlation_id: str | None
    traceparent: str | None


# One statement and so one transaction, whose commit is its end. A key that was used before, also by an earlier entry of
# the same batch, adds nothing; with the same key in two transactions, the second waits until the first has committed.
# So they are taken in one order, which is that of the rows: clients that repeat in bulk after a time-out send the same
# keys in any order, and two batches waited for each other until the server ended one, with up to a hundred callers in
# it. Sorted here, because a sort there would carry the payloads along.
# All of it is one parameter: psycopg writes arrays in Python, and eleven of them took a tenth of a request's time. A
# payload that is JSON's null comes out of a record set as SQL's.
_ADD = text("""
    WITH given AS (
        SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS given (
            id uuid, user_id uuid, url text, payload jsonb, payload_text text, headers jsonb, max_attempts int,
            idempotency_key text, request_hash text, job_id uuid, correlation_id text, traceparent text
        )
    ),
    added AS (
        INSERT INTO deliveries
            (id, user_id, url, payload, payload_text, headers, max_attempts, idempotency_key, request_hash)
        SELECT id, user_id, url, coalesce(payload, CAST('null' AS jsonb)), payload_text, headers, max_attempts,
            idempotency_key, decode(request_hash, 'hex')
        FROM given
        ON CONFLICT (user_id, idempotency_key) DO NOTHING
        RETURNING id
    )
    INSERT INTO jobs (id, kind, queue, subject_id, max_attempts, correlation_id, traceparent)
    SELECT job_id, :kind, :queue, id, max_attempts, correlation_id, traceparent FROM given JOIN added USING (id)
    RETURNING subject_id
""")


async def add(connection: AsyncConnection, new: Sequence[NewDelivery], *, kind: str, queue: str) -> set[uuid.UUID]:
    """Add the deliveries, each with a pending job; the ids of those whose account had not used the key before."""
    given = [vars(one) for one in sorted(new, key=lambda one: (one.user_id, one.idempotency_key or ""))]
    text = json.dumps(given, ensure_ascii=False, default=_plain)
    rows = await connection.execute(_ADD, {"kind": kind, "queue": queue, "rows": text})
    return set(rows.scalars())


def _plain(value: uuid.UUID | bytes) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


async def get(connection: AsyncConnection, user_id: uuid.UUID, delivery_id: uuid.UUID) -> RowMapping | None:
    """The delivery, its payload as text."""
    payload = func.coalesce(Delivery.payload_text, cast(Delivery.payload, Text))
    statement = select(*_SUMMARY, payload.label("payload"), Delivery.headers).where(
        Delivery.id == delivery_id, Delivery.user_id == user_id
    )
    return (await connection.execute(statement)).mappings().one_or_none()


async def get_version(
    connection: AsyncConnection, user_id: uuid.UUID, delivery_id: uuid.UUID
) -> tuple[datetime, int] | None:
    """When it last changed, and how many attempts it has."""
    statement = select(Delivery.updated_at, _ATTEMPTS).where(Delivery.id == delivery_id, Delivery.user_id == user_id)
    row = (await connection.execute(statement)).one_or_none()
    return (row.updated_at, row.attempt_count) if row else None


async def list_attempts(connection: AsyncConnection, delivery_id: uuid.UUID) -> list[RowMapping]:
    statement = (
        select(
            DeliveryAttempt.number,
            DeliveryAttempt.started_at,
            DeliveryAttempt.duration_ms,
            DeliveryAttempt.status_code,
            DeliveryAttempt.error,
            DeliveryAttempt.response_excerpt,
        )
        .where(DeliveryAttempt.delivery_id == delivery_id)
        .order_by(DeliveryAttempt.number)
    )
    return list((await connection.execute(statement)).mappings())


def summaries(user_id: uuid.UUID, *, status: str | None) -> Select[*tuple[Any, ...]]:
    """Of the account's deliveries, as a page shows them."""
    conditions = [Delivery.user_id == user_id, *([] if status is None else [Delivery.status == status])]
    return select(*_SUMMARY).where(*conditions)


async def lock(connection: AsyncConnection, user_id: uuid.UUID, delivery_id: uuid.UUID) -> RowMapping | None:
    statement = (
        select(Delivery.id, Delivery.status, Delivery.max_attempts)
        .where(Delivery.id == delivery_id, Delivery.user_id == user_id)
        .with_for_update()
    )
    return (await connection.execute(statement)).mappings().one_or_none()


async def reopen(connection: AsyncConnection, delivery_id: uuid.UUID) -> None:
    """Back to pending, for another round of attempts."""
    values = {"status": "pending", "last_error": None, "completed_at": None, "updated_at": func.now()}
    await connection.execute(update(Delivery).where(Delivery.id == delivery_id).values(values))
