"""What happens when a delivery is accepted, looked up or tried again."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import ClientDisconnect

from app.db import errors
from app.db.cancellation import end_statement, is_canceled
from app.db.transactions import transaction
from app.deliveries import queries
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
from app.errors import Conflict, FieldError, InvalidInput, NotFound, Unauthenticated, Unavailable
from app.observability import correlation, traces
from app.outbound.urls import UrlPolicy, UrlRefused, check_url_shape
from app.queue.outbox import new_job
from app.web import caching, cursor
from app.web.batching import Batch, CallerGone, Gather, OutcomeUnknown
from app.web.caching import Tag
from app.web.idempotency import fingerprint
from app.web.state import State

JOB_KIND = "delivery"
"""As app.deliveries.job registers it; that module is not imported here, because it brings the HTTP client along."""


class DeliveriesState(State):
    intake: Gather[NewDelivery, bool]
    """Stores an accepted delivery; whether its key is new."""


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
    _check_url(given.url, UrlPolicy(allow_http=settings.delivery_allow_http, allow_private=_allow_private(state)))
    new = NewDelivery(
        user_id=user_id,
        url=given.url,
        payload=given.payload,
        payload_text=payload_text,
        headers=given.headers,
        max_attempts=given.max_attempts or settings.delivery_max_attempts,
        idempotency_key=key,
        request_hash=fingerprint(given) if key else None,
        correlation_id=correlation.current(),
        traceparent=traces.current(),
    )
    try:
        added = await state["intake"].do(new, is_gone=is_gone)
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
    if not added:
        async with state["engine"].connect() as connection:
            return await _first_answer(connection, new), True
    return Accepted(id=new.id, status="pending"), False


def intake(state: State) -> Gather[NewDelivery, bool]:
    """Stores accepted deliveries, and announces their jobs once they are committed."""
    settings, nudge = state["settings"], state["nudge"]
    committing = state["engine"].execution_options(isolation_level="AUTOCOMMIT")
    queue, urgent = settings.queue_of(JOB_KIND), settings.is_urgent(JOB_KIND)

    async def store(batch: Batch[NewDelivery, bool]) -> list[bool]:
        try:
            async with committing.connect() as connection:
                try:
                    with batch.under_way(lambda: end_statement(connection)) as new:
                        added = await queries.add(connection, new, kind=JOB_KIND, queue=queue) if new else set()
                finally:
                    if batch.interrupted:
                        # The request to cancel may still be on its way, and is to meet nobody else's statement.
                        await connection.invalidate()
        except DBAPIError as error:
            if errors.kind(error) is errors.Kind.FAULT:
                raise _Refused from error
            raise
        for one in new:
            if one.id in added:
                nudge.soon(one.job_id, queue, urgent=urgent)
        return [one.id in added for one in new]

    return Gather(store, fault_of_one=(_Refused,), was_stopped=is_canceled)


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
    try:
        after = None if wanted.cursor is None else cursor.decode(wanted.cursor)
    except ValueError:
        error = FieldError(pointer="/cursor", detail="take it from next_cursor of the page before")
        raise InvalidInput("the input is not valid", errors=[error]) from None
    async with state["engine"].connect() as connection:
        # One more than asked for tells whether there is a next page.
        rows = await queries.page(connection, user_id, status=wanted.status, after=after, limit=wanted.limit + 1)
    items = [DeliverySummary(**row) for row in rows[: wanted.limit]]
    more = len(rows) > wanted.limit
    return DeliveryPage(items=items, next_cursor=cursor.encode(items[-1].created_at, items[-1].id) if more else None)


async def retry(state: State, user_id: uuid.UUID, delivery_id: uuid.UUID) -> Accepted:
    """Another round of attempts for a delivery that has failed."""
    async with transaction(state["engine"]) as connection:
        found = await queries.lock(connection, user_id, delivery_id)
        if found is None:
            raise missing()
        if found["status"] != "failed":
            raise Conflict(f"only a failed delivery can be tried again, this one is {found['status']}")
        await queries.reopen(connection, delivery_id)
        job_id = await _add_job(connection, state, delivery_id, found["max_attempts"])
    # Somebody waits for what was asked for by hand.
    state["nudge"].soon(job_id, _queue(state), urgent=True)
    return Accepted(id=delivery_id, status="pending")


def missing() -> NotFound:
    """For one of another account too: whether it exists is not the caller's business."""
    return NotFound("there is no such delivery")


async def _add_job(connection: AsyncConnection, state: State, delivery_id: uuid.UUID, max_attempts: int) -> uuid.UUID:
    job_id = uuid.uuid4()
    await connection.execute(
        new_job(
            job_id=job_id,
            kind=JOB_KIND,
            queue=_queue(state),
            subject_id=delivery_id,
            max_attempts=max_attempts,
            correlation_id=correlation.current(),
            traceparent=traces.current(),
        )
    )
    return job_id


async def _first_answer(connection: AsyncConnection, again: NewDelivery) -> Accepted:
    """What the first request with this key was answered; another body under the same key is a mistake of the caller."""
    assert again.idempotency_key is not None
    delivery_id, request_hash = await queries.get_by_key(connection, again.user_id, again.idempotency_key)
    if request_hash != again.request_hash:
        raise InvalidInput("this Idempotency-Key was used with another body: use a new key for a new delivery")
    return Accepted(id=delivery_id, status="pending")


def _queue(state: State) -> str:
    return state["settings"].queue_of(JOB_KIND)


def _check_url(url: str, policy: UrlPolicy) -> None:
    try:
        check_url_shape(url, policy)
    except UrlRefused as refused:
        raise InvalidInput("the input is not valid", errors=[FieldError(pointer="/url", detail=str(refused))]) from None


def _allow_private(state: State) -> bool:
    return state["settings"].delivery_allow_private_networks
