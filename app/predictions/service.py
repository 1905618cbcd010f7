"""What happens when a prediction is accepted, looked up or called off."""

from __future__ import annotations

import uuid

from sqlalchemy.exc import IntegrityError

from app.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from app.predictions import KIND, queries
from app.predictions.models import OPEN_PREDICTION, Prediction
from app.predictions.providers.dialects import DIALECTS
from app.predictions.schemas import (
    PredictionAccepted,
    PredictionIn,
    PredictionOut,
    PredictionPage,
    PredictionQuery,
    PredictionSummary,
)
from app.settings import Settings
from app.web import idempotency, paging
from app.web.jobs import transaction_with_jobs
from app.web.state import State


async def accept(
    state: State, user_id: uuid.UUID, given: PredictionIn, input_text: str, *, key: str | None
) -> tuple[PredictionAccepted, bool]:
    """The accepted prediction, and whether the key had been used for it before. Committed together with its job.
    `input_text`: as the caller wrote it.
    """
    settings = state["settings"]
    _check(settings, given)
    request_hash = idempotency.fingerprint(given) if key else None
    async with transaction_with_jobs(state) as (connection, jobs):
        try:
            prediction_id = await queries.add(
                connection,
                user_id=user_id,
                provider=given.provider,
                model=given.model,
                input=given.input,
                input_text=input_text,
                idempotency_key=key,
                request_hash=request_hash,
            )
        except IntegrityError:
            raise Unauthenticated("the account does not exist any more") from None
        if replayed := prediction_id is None:
            prediction_id = await idempotency.first_use(connection, Prediction, user_id, key, request_hash)
        else:
            await jobs.enqueue(KIND, prediction_id, max_attempts=settings.prediction_max_attempts)
    return PredictionAccepted(id=prediction_id, status="queued"), replayed


async def get(state: State, user_id: uuid.UUID, prediction_id: uuid.UUID) -> PredictionOut:
    async with state["engine"].connect() as connection:
        found = await queries.get(connection, user_id, prediction_id)
    if found is None:
        raise missing()
    return PredictionOut(**found)


async def page(state: State, user_id: uuid.UUID, wanted: PredictionQuery) -> PredictionPage:
    rows, next_cursor = await paging.read(
        state["engine"],
        queries.summaries(user_id, status=wanted.status),
        Prediction,
        cursor=wanted.cursor or None,
        limit=wanted.limit,
    )
    return PredictionPage(items=[PredictionSummary(**row) for row in rows], next_cursor=next_cursor)


async def cancel(state: State, user_id: uuid.UUID, prediction_id: uuid.UUID) -> PredictionAccepted:
    """Call it off: at once while no provider has it, else by the worker, which asks the provider."""
    async with transaction_with_jobs(state) as (connection, jobs):
        status = await queries.lock(connection, user_id, prediction_id)
        if status is None:
            raise missing()
        if status not in OPEN_PREDICTION:
            raise Conflict(f"only an open prediction can be canceled, this one is {status}")
        await queries.cancel(connection, prediction_id, at_once=status == "queued")
        if status != "queued" and (job := await queries.make_due(connection, prediction_id)) is not None:
            jobs.due.append((*job, True))
    return PredictionAccepted.model_validate(
        {"id": prediction_id, "status": "canceled" if status == "queued" else status}
    )


def missing() -> NotFound:
    """For one of another account too: whether it exists is not the caller's business."""
    return NotFound("there is no such prediction")


def _check(settings: Settings, given: PredictionIn) -> None:
    keys = {"replicate": settings.replicate_api_key, "openai": settings.openai_api_key}
    if not keys[given.provider].get_secret_value():
        raise InvalidInput.of(
            "/provider", f"{given.provider} is not set up here: {given.provider.upper()}_API_KEY is not set"
        )
    try:
        DIALECTS[given.provider].check(given.model, given.input)
    except ValueError as error:
        member, detail = error.args
        raise InvalidInput.of(f"/{member}", detail) from None
