"""Jobs of kind `webhook`: apply a provider's webhook about the end of a prediction.

A webhook may know of a prediction more than its row does: the worker that handed it over has not stored the provider's
id yet, or vanished before it could. It names the prediction by our own id, too, which came back in its address
(Replicate) or in the result (OpenAI).
"""

from __future__ import annotations

import base64
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from app.db import locks
from app.predictions.models import Prediction
from app.predictions.providers.base import ProviderName, Snapshot, Unreadable, parse
from app.predictions.providers.client import ProviderClient, Refused, TryAgain, request_timeout
from app.predictions.providers.dialects import DIALECTS
from app.predictions.results import Change, apply, change_of, end_jobs
from app.queue.handler import Effects
from app.queue.job import Job, Outcome
from app.settings import Settings

_STORE_SECONDS = 20.0
_PATIENCE = 60.0
"""Seconds for which a webhook of an unknown prediction is kept: longer than a worker needs to store an id."""
_LOOK_AGAIN = 2.0

# `prediction`: the one of whose end it tells, by the provider's id, or by our own if the row has no other yet.
_BEGIN = """
    SELECT webhooks.id, json_build_object(
        'provider', webhooks.provider,
        'provider_id', coalesce(webhooks.provider_id, ''),
        'body', encode(coalesce(webhooks.body, ''), 'base64'),
        'prediction', coalesce(known.id, named.id),
        'ended', coalesce(coalesce(known.status, named.status) IN ('succeeded', 'failed', 'canceled'), false),
        'unknown', EXISTS (
            SELECT FROM predictions AS other
            WHERE other.provider = webhooks.provider AND other.provider_id IS NULL AND other.completed_at IS NULL
        ),
        'age', extract(epoch FROM now() - webhooks.received_at)
    ) AS work
    FROM {mine} AS claimed
    JOIN inbound_webhooks AS webhooks ON webhooks.id = claimed.subject_id
    LEFT JOIN predictions AS known
        ON known.provider = webhooks.provider AND known.provider_id = webhooks.provider_id
    LEFT JOIN predictions AS named
        ON named.id = webhooks.reference AND named.provider = webhooks.provider AND named.provider_id IS NULL
"""
_PROCESSED = text("""
    UPDATE inbound_webhooks SET
        processed_at = now(),
        result = made.result,
        body = CASE WHEN made.kept THEN inbound_webhooks.body END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:results AS text[]), CAST(:kept AS bool[])) AS made (id, result, kept)
    WHERE inbound_webhooks.id = made.id
""")


@dataclass(frozen=True, kw_only=True)
class Work:
    """`prediction`: the one that has ended, as far as the rows say. `unknown`: whether it may be of one whose row does
    not know the provider's id."""

    provider: ProviderName
    provider_id: str
    body: bytes
    prediction: uuid.UUID | None
    ended: bool
    unknown: bool
    age: float


@dataclass(frozen=True, kw_only=True)
class News:
    """What a webhook said, for whom."""

    provider: ProviderName
    change: Change


class WebhookHandler:
    """See app.queue.handler.Handler."""

    @property
    def effects(self) -> Effects:
        return Effects(begin=_BEGIN, read=_work, also=store)

    def __init__(self, settings: Settings, clients: Mapping[ProviderName, ProviderClient]) -> None:
        self._clients = clients
        self.lease = min(settings.queue_lease / 1000, request_timeout(settings) + _STORE_SECONDS)

    def run(self, work: Work, job: Job) -> Outcome:  # noqa: ARG002
        if work.prediction is not None and work.ended:
            return _ignored("the prediction had ended")
        if work.prediction is None and not work.unknown:
            return _ignored("no prediction of ours")
        try:
            seen = self._result(work)
        except Unreadable as error:
            return Outcome(result="dead", error=f"the body cannot be read: {error}")
        except TryAgain as error:
            return Outcome(result="retry", error=str(error), at_least=error.after)
        except Refused as error:
            return _ignored(str(error))
        if seen is None:
            return Outcome(result="retry", error=f"{work.provider} is not set up here: it has no key")
        if not seen.finished:
            return Outcome(result="retry", error=f"{work.provider} told of an end and does not know of it yet")
        prediction_id = work.prediction or seen.reference
        if prediction_id is None:
            if work.age < _PATIENCE:
                return Outcome(result="wait", at_least=_LOOK_AGAIN)
            return _ignored("no prediction of ours")
        news = News(provider=work.provider, change=change_of(prediction_id, seen))
        return Outcome(result="done", detail=news, log={"prediction_id": str(prediction_id), "prediction": seen.status})

    def _result(self, work: Work) -> Snapshot | None:
        """The prediction as it ended; None when only its provider knows, and cannot be asked."""
        notice = DIALECTS[work.provider].notice(parse(work.body))
        if notice is None:
            raise Unreadable("it tells of no end")
        if notice.snapshot is not None:
            return notice.snapshot
        client = self._clients.get(work.provider)
        return client.fetch(notice.provider_id) if client else None


def _work(found: Mapping[str, Any]) -> Work:
    prediction = found["prediction"]
    return Work(
        **{
            **found,
            "body": base64.b64decode(found["body"]),
            "prediction": None if prediction is None else uuid.UUID(prediction),
            "age": float(found["age"]),
        }
    )


def store(connection: Connection, jobs: Sequence[Job]) -> None:
    """What the webhooks said of predictions, where it can be taken, and that they were processed. No part of the
    statement that stores the jobs: what a webhook came to depends on the rows that it changed."""
    news: dict[ProviderName, list[Change]] = defaultdict(list)
    for job in jobs:
        if isinstance(job.ended_as.detail, News):
            news[job.ended_as.detail.provider].append(job.ended_as.detail.change)
    changed: set[uuid.UUID] = set()
    if len(news) > 1:
        # All of them in the one order, before one provider's are locked after the other's.
        ids = [change.prediction_id for changes in news.values() for change in changes]
        connection.execute(locks.in_order(Prediction.id, Prediction.id.in_(ids)))
    for provider in sorted(news):
        changed |= apply(connection, news[provider], provider=provider)
    if changed:
        end_jobs(connection, changed)
    processed = [(job.subject_id, job.ended_as) for job in jobs if job.ended_as.row_state != "pending"]
    if processed:
        connection.execute(
            _PROCESSED,
            {
                "ids": [subject_id for subject_id, _ in processed],
                "results": [_said(outcome, changed) for _, outcome in processed],
                "kept": [outcome.result == "dead" for _, outcome in processed],
            },
        )


def _ignored(reason: str) -> Outcome:
    return Outcome(result="done", detail=reason, log={"ignored": reason})


def _said(outcome: Outcome, changed: set[uuid.UUID]) -> str | None:
    if isinstance(outcome.detail, News):
        return "applied" if outcome.detail.change.prediction_id in changed else "the prediction had ended"
    return outcome.error or outcome.detail
