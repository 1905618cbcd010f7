"""What happens when a delivery is accepted, looked up or tried again."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

from sqlalchemy.exc import DBAPIError, IntegrityError
from starlette.requests import ClientDisconnect

from app.db import errors
from app.db.cancellation import end_statement, is_canceled
from app.deliveries import KIND, queries
from app.deliveries.models import Delivery
from app.deliveries.queries import NewDelivery
from app.deliveries.schemas import (
    Accepted,
    AttemptOut,
    DeliveryIn,
    DeliveryOut,
    DeliveryPage,
    DeliveryQuery,
    DeliverySummary,
)
from app.errors import Conflict, InvalidInput, NotFound, Unauthenticated, Unavailable
from app.observability import correlation, traces
from app.outbound.urls import UrlPolicy, UrlRefused, check_url_shape
from app.settings import Settings
from app.web import caching, idempotency, paging
from app.web.batching import Batch, Batcher, CallerGone, OutcomeUnknown
from app.web.caching import Tag
from app.web.jobs import transaction_with_jobs
from app.web.state import State


class DeliveriesState(State):
    batcher: Batcher[NewDelivery, bool]
    """Stores accepted deliveries; whether the key of each is new."""


class _Refused(Exception):
    """The database refuses a batch of deliveries for what one of them holds."""


async def accept(
    state: DeliveriesState,
    user_id: uuid.UUID,
    given: DeliveryIn,
    payload_text: str,
    *,
    key: str | None,
    is_gone: Callable[[], bool] | None = None,
) -> tuple[Accepted, bool]:
    """The accepted delivery, and whether the key had been used for it before. `payload_text`: as the caller wrote it.

    The delivery and its job are committed together: once the caller has a 202, the work survives the loss of this
    process and of Redis. Raises ClientDisconnect when `is_gone` said so in time to store nothing.
    """
    settings = state["settings"]
    _check_url(given.url, settings)
    new = NewDelivery(
        user_id=user_id,
        url=given.url,
        payload=given.payload,
        payload_text=payload_text,
        headers=given.headers,
        max_attempts=given.max_attempts or settings.delivery_max_attempts,
        idempotency_key=key,
        request_hash=idempotency.fingerprint(given) if key else None,
        correlation_id=correlation.current(),
        traceparent=traces.current(),
    )
    try:
        added = await state["batcher"].submit(new, is_gone=is_gone)
    except CallerGone:
        raise ClientDisconnect from None
    except OutcomeUnknown:
        raise Unavailable(
            "the database did not answer in time, and it is not known whether the delivery was accepted: send it again "
            "with the same Idempotency-Key",
            headers={"Connection": "close"},
        ) from None
    except _Refused as refused:
        if isinstance(refused.__cause__, IntegrityError):
            raise Unauthenticated("the account does not exist any more") from None
        raise
    if added:
        return Accepted(id=new.id, status="pending"), False
    async with state["engine"].connect() as connection:
        first = await idempotency.first_use(connection, Delivery, user_id, key, new.request_hash)
    return Accepted(id=first, status="pending"), True


def batcher(state: State) -> Batcher[NewDelivery, bool]:
    """Stores accepted deliveries, and has their jobs put on the queue once they are committed."""
    settings, announcer = state["settings"], state["announcer"]
    committing = state["engine"].execution_options(isolation_level="AUTOCOMMIT")
    queue, urgent = settings.queue_of(KIND), settings.is_urgent(KIND)

    async def store(batch: Batch[NewDelivery, bool]) -> list[bool]:
        try:
            async with committing.connect() as connection:
                try:
                    with batch.executing(lambda: end_statement(connection)) as new:
                        added = await queries.add(connection, new, kind=KIND, queue=queue) if new else set()
                finally:
                    if batch.interrupted:
                        # The request to cancel may still be on its way, and must not meet another request's statement.
                        await connection.invalidate()
        except DBAPIError as error:
            if errors.kind(error) is errors.Kind.FAULT:
                raise _Refused from error
            raise
        for one in new:
            if one.id in added:
                announcer.announce(one.job_id, queue, urgent=urgent)
        return [one.id in added for one in new]

    return Batcher(store, fault_of_one=(_Refused,), was_stopped=is_canceled)


async def get(state: State, user_id: uuid.UUID, delivery_id: uuid.UUID) -> DeliveryOut:
    async with state["engine"].connect() as connection:
        # One snapshot for both: a worker that finished between them showed its attempt beside the old status.
        await connection.execution_options(isolation_level="REPEATABLE READ")
        found = await queries.get(connection, user_id, delivery_id)
        if found is None:
            raise missing()
        attempts = await queries.list_attempts(connection, delivery_id)
    return DeliveryOut(**found, attempts=[AttemptOut(**attempt) for attempt in attempts])


async def tag(state: State, user_id: uuid.UUID, delivery_id: uuid.UUID) -> Tag:
    """The tag of what `get` would return, without reading its payload and its attempts."""
    async with state["engine"].connect() as connection:
        found = await queries.get_version(connection, user_id, delivery_id)
    if found is None:
        raise missing()
    return tag_of(*found)


def tag_of(updated_at: datetime, attempt_count: int) -> Tag:
    """Whatever changes a delivery sets `updated_at` in the same transaction."""
    return caching.tag(_shape(), updated_at.timestamp(), attempt_count)


@lru_cache(maxsize=1)
def _shape() -> str:
    """Another version of this service may show the same row differently."""
    return json.dumps(DeliveryOut.model_json_schema(), sort_keys=True)


async def page(state: State, user_id: uuid.UUID, wanted: DeliveryQuery) -> DeliveryPage:
    rows, next_cursor = await paging.read(
        state["engine"],
        queries.summaries(user_id, status=wanted.status),
        Delivery,
        cursor=wanted.cursor,
        limit=wanted.limit,
    )
    return DeliveryPage(items=[DeliverySummary(**row) for row in rows], next_cursor=next_cursor)


async def retry(state: State, user_id: uuid.UUID, delivery_id: uuid.UUID) -> Accepted:
    """Another round of attempts for a delivery that has failed."""
    async with transaction_with_jobs(state) as (connection, jobs):
        found = await queries.lock(connection, user_id, delivery_id)
        if found is None:
            raise missing()
        if found["status"] != "failed":
            raise Conflict(f"only a failed delivery can be tried again, this one is {found['status']}")
        await queries.reopen(connection, delivery_id)
        # Somebody waits for what was asked for by hand.
        await jobs.enqueue(KIND, delivery_id, max_attempts=found["max_attempts"], urgent=True)
    return Accepted(id=delivery_id, status="pending")


def missing() -> NotFound:
    """For one of another account too: whether it exists is not the caller's business."""
    return NotFound("there is no such delivery")


def _check_url(url: str, settings: Settings) -> None:
    try:
        check_url_shape(url, UrlPolicy.of(settings))
    except UrlRefused as refused:
        raise InvalidInput.of("/url", str(refused)) from None
