"""What happens when a prediction is accepted, looked up or called off."""

from __future__ import annotations

import uuid

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.transactions import transaction
from app.errors import Conflict, FieldError, InvalidInput, NotFound, Unauthenticated
from app.observability import correlation, traces
from app.predictions import queries
from app.predictions.models import OPEN_PREDICTION
from app.predictions.providers.dialects import DIALECTS
from app.predictions.queries import NewPrediction
from app.predictions.schemas import (
    PredictionAccepted,
    PredictionIn,
    PredictionOut,
    PredictionPage,
    PredictionQuery,
    PredictionSummary,
)
from app.queue.outbox import new_job
from app.settings import Settings
from app.web import cursor
from app.web.idempotency import fingerprint
from app.web.state import State

JOB_KIND = "prediction"
"""As app.predictions.job registers it; that module is not imported here, because it brings the HTTP client along."""


async def accept(
    state: State, user_id: uuid.UUID, given: PredictionIn, input_text: str, *, key: str | None
) -> tuple[PredictionAccepted, bool]:
    """The accepted prediction, and whether the key had been used for it before. Committed together with its job.
    `input_text`: as the caller wrote it.
    """
    settings = state["settings"]
    _check(settings, given)
    new = NewPrediction(
        user_id=user_id,
        provider=given.provider,
        model=given.model,
        input=given.input,
        input_text=input_text,
        idempotency_key=key,
        request_hash=fingerprint(given) if key else None,
    )
    job_id = uuid.uuid4()
    async with transaction(state["engine"]) as connection:
        try:
            prediction_id = await queries.add(connection, new)
        except IntegrityError:
            raise Unauthenticated("the account does not exist any more") from None
        if prediction_id is None:
            return await _first_answer(connection, new), True
        await connection.execute(
            new_job(
                job_id=job_id,
                kind=JOB_KIND,
                queue=settings.queue_of(JOB_KIND),
                subject_id=prediction_id,
                max_attempts=settings.prediction_max_attempts,
                correlation_id=correlation.current(),
                traceparent=traces.current(),
            )
        )
    state["nudge"].soon(job_id, settings.queue_of(JOB_KIND), urgent=settings.is_urgent(JOB_KIND))
    return PredictionAccepted(id=prediction_id, status="queued"), False


async def get(state: State, user_id: uuid.UUID, prediction_id: uuid.UUID) -> PredictionOut:
    async with state["engine"].connect() as connection:
        found = await queries.get(connection, user_id, prediction_id)
    if found is None:
        raise missing()
    return PredictionOut(**found)


async def page(state: State, user_id: uuid.UUID, wanted: PredictionQuery) -> PredictionPage:
    try:
        after = cursor.decode(wanted.cursor) if wanted.cursor else None
    except ValueError:
        error = FieldError(pointer="/cursor", detail="take it from next_cursor of the page before")
        raise InvalidInput("the input is not valid", errors=[error]) from None
    async with state["engine"].connect() as connection:
        # One more than asked for tells whether there is a next page.
        rows = await queries.page(connection, user_id, status=wanted.status, after=after, limit=wanted.limit + 1)
    items = [PredictionSummary(**row) for row in rows[: wanted.limit]]
    more = len(rows) > wanted.limit
    return PredictionPage(items=items, next_cursor=cursor.encode(items[-1].created_at, items[-1].id) if more else None)


async def cancel(state: State, user_id: uuid.UUID, prediction_id: uuid.UUID) -> PredictionAccepted:
    """Call it off: at once while no provider has it, else by the worker, which asks the provider."""
    job = None
    async with transaction(state["engine"]) as connection:
        status = await queries.lock(connection, user_id, prediction_id)
        if status is None:
            raise missing()
        if status not in OPEN_PREDICTION:
            raise Conflict(f"only an open prediction can be canceled, this one is {status}")
        await queries.cancel(connection, prediction_id, at_once=status == "queued")
        if status != "queued":
            job = await queries.hurry(connection, prediction_id)
    if job is not None:
        state["nudge"].soon(*job, urgent=True)
    return PredictionAccepted.model_validate(
        {"id": prediction_id, "status": "canceled" if status == "queued" else status}
    )


def missing() -> NotFound:
    """For one of another account too: whether it exists is not the caller's business."""
    return NotFound("there is no such prediction")


async def _first_answer(connection: AsyncConnection, again: NewPrediction) -> PredictionAccepted:
    """What the first request with this key was answered; another body under the same key is a mistake of the caller."""
    assert again.idempotency_key is not None
    prediction_id, request_hash = await queries.get_by_key(connection, again.user_id, again.idempotency_key)
    if request_hash != again.request_hash:
        raise InvalidInput("this Idempotency-Key was used with another body: use a new key for a new prediction")
    return PredictionAccepted(id=prediction_id, status="queued")


def _check(settings: Settings, given: PredictionIn) -> None:
    keys = {"replicate": settings.replicate_api_key, "openai": settings.openai_api_key}
    if not keys[given.provider].get_secret_value():
        raise _invalid("/provider", f"{given.provider} is not set up here: {given.provider.upper()}_API_KEY is not set")
    try:
        DIALECTS[given.provider].check(given.model, given.input)
    except ValueError as error:
        member, detail = error.args
        raise _invalid(f"/{member}", detail) from None


def _invalid(pointer: str, detail: str) -> InvalidInput:
    return InvalidInput("the input is not valid", errors=[FieldError(pointer=pointer, detail=detail)])
