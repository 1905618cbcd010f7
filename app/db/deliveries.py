"""Queries on deliveries. The caller opens and commits the transaction."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, Select, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.models import Delivery, DeliveryAttempt

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
    user_id: uuid.UUID
    url: str
    payload: Any
    headers: dict[str, str]
    max_attempts: int
    idempotency_key: str | None
    request_hash: bytes | None


async def add(connection: AsyncConnection, new: NewDelivery) -> uuid.UUID | None:
    """The new delivery's id; None when the account has used the idempotency key before.

    With the same key in two transactions at once, the second waits here until the first has committed.
    """
    statement = (
        upsert(Delivery)
        .values(id=uuid.uuid4(), **vars(new))
        .on_conflict_do_nothing(index_elements=[Delivery.user_id, Delivery.idempotency_key])
        .returning(Delivery.id)
    )
    return (await connection.execute(statement)).scalar_one_or_none()


async def get_by_key(connection: AsyncConnection, user_id: uuid.UUID, key: str) -> tuple[uuid.UUID, bytes | None]:
    """Id and request hash of the delivery that first used the key."""
    statement = select(Delivery.id, Delivery.request_hash).where(
        Delivery.user_id == user_id, Delivery.idempotency_key == key
    )
    row = (await connection.execute(statement)).one()
    return row.id, row.request_hash


async def get(connection: AsyncConnection, user_id: uuid.UUID, delivery_id: uuid.UUID) -> RowMapping | None:
    statement = select(*_SUMMARY, Delivery.payload, Delivery.headers).where(
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


async def page(
    connection: AsyncConnection,
    user_id: uuid.UUID,
    *,
    status: str | None,
    after: tuple[datetime, uuid.UUID] | None,
    limit: int,
) -> list[RowMapping]:
    """Newest first, those that come after (are older than) `after`."""
    statement: Select[Any] = select(*_SUMMARY).where(Delivery.user_id == user_id)
    if status is not None:
        statement = statement.where(Delivery.status == status)
    if after is not None:
        statement = statement.where(tuple_(Delivery.created_at, Delivery.id) < after)
    statement = statement.order_by(Delivery.created_at.desc(), Delivery.id.desc()).limit(limit)
    return list((await connection.execute(statement)).mappings())


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
