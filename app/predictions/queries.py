"""Queries of the API on predictions and inbound webhooks. The caller opens and commits the transaction."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import RowMapping, Select, Text, cast, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.predictions import KIND
from app.predictions.models import InboundWebhook, Prediction
from app.queue.models import Job

_SUMMARY = (
    Prediction.id,
    Prediction.provider,
    Prediction.model,
    Prediction.status,
    Prediction.provider_id,
    Prediction.error,
    Prediction.created_at,
    Prediction.updated_at,
    Prediction.submitted_at,
    Prediction.completed_at,
)


async def add(connection: AsyncConnection, **values: Any) -> uuid.UUID | None:
    """The new prediction's id; None when the account has used the idempotency key before.

    With the same key in two transactions at once, the second waits here until the first has committed.
    """
    statement = (
        upsert(Prediction)
        .values(id=uuid.uuid4(), **values)
        .on_conflict_do_nothing(index_elements=[Prediction.user_id, Prediction.idempotency_key])
        .returning(Prediction.id)
    )
    return (await connection.execute(statement)).scalar_one_or_none()


async def get(connection: AsyncConnection, user_id: uuid.UUID, prediction_id: uuid.UUID) -> RowMapping | None:
    """The prediction, its input and output as text."""
    statement = select(
        *_SUMMARY,
        func.coalesce(Prediction.input_text, cast(Prediction.input, Text)).label("input"),
        func.coalesce(Prediction.output_text, cast(Prediction.output, Text)).label("output"),
    ).where(Prediction.id == prediction_id, Prediction.user_id == user_id)
    return (await connection.execute(statement)).mappings().one_or_none()


def summaries(user_id: uuid.UUID, *, status: str | None) -> Select[*tuple[Any, ...]]:
    """Of the account's predictions, as a page shows them."""
    conditions = [Prediction.user_id == user_id, *([] if status is None else [Prediction.status == status])]
    return select(*_SUMMARY).where(*conditions)


async def lock(connection: AsyncConnection, user_id: uuid.UUID, prediction_id: uuid.UUID) -> str | None:
    """Its status, held until the end of the transaction."""
    statement = (
        select(Prediction.status).where(Prediction.id == prediction_id, Prediction.user_id == user_id).with_for_update()
    )
    return (await connection.execute(statement)).scalar_one_or_none()


async def cancel(connection: AsyncConnection, prediction_id: uuid.UUID, *, at_once: bool) -> None:
    """End it `at_once`, or leave the wish for the worker that talks to the provider."""
    ended = {"status": "canceled", "error": None, "completed_at": func.now()} if at_once else {}
    values = {"cancel_requested_at": func.now(), "updated_at": func.now(), **ended}
    await connection.execute(update(Prediction).where(Prediction.id == prediction_id).values(values))


async def make_due(connection: AsyncConnection, prediction_id: uuid.UUID) -> tuple[uuid.UUID, str] | None:
    """Make the prediction's waiting job due; its id and queue. None when a worker is at it, which looks again then.

    A job that a claim holds is skipped, not waited for: the claim waits for the prediction, which is ours.
    """
    waiting = (
        select(Job.id)
        .where(Job.subject_id == prediction_id, Job.kind == KIND, Job.state == "pending")
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    statement = update(Job).where(Job.id == waiting).values(run_at=func.now()).returning(Job.id, Job.queue)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else (row.id, row.queue)


async def add_webhook(connection: AsyncConnection, *, body: bytes | None, **values: Any) -> uuid.UUID | None:
    """The id of its row; None when it was received before."""
    done = {} if body is not None else {"processed_at": func.now()}
    statement = (
        upsert(InboundWebhook)
        .values(id=uuid.uuid4(), body=body, **values, **done)
        .on_conflict_do_nothing(index_elements=[InboundWebhook.provider, InboundWebhook.webhook_id])
        .returning(InboundWebhook.id)
    )
    return (await connection.execute(statement)).scalar_one_or_none()
