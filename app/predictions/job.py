"""Jobs of kind `prediction`: hand a prediction to its provider, then see it through to its end.

The first run submits, and stores the provider's id; every later one asks for the result, unless a webhook has brought
it by then. Only handing over takes attempts. Waiting for a provider that computes, or that is away, takes none: it ends
by PREDICTION_TIMEOUT.

Submitted at least once: a worker that vanishes between the provider's answer and its storing leaves an id that nobody
knows, and the next one submits again, with the same Idempotency-Key and the same address for the webhook.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, func, select, update

from app.predictions import KIND, webhooks
from app.predictions.models import OPEN_PREDICTION, Prediction
from app.predictions.providers.base import ProviderName, Snapshot, Submission
from app.predictions.providers.client import ProviderClient, Refused, TryAgain, clients, request_timeout
from app.predictions.results import Change, apply, change_of
from app.predictions.webhooks.job import WebhookHandler
from app.queue.handler import Effects, Handler
from app.queue.job import Job, Outcome
from app.queue.models import Job as JobRow
from app.settings import Settings

_STORE_SECONDS = 20.0
"""Left of the lease after two requests, to store what came of them while Postgres comes back from a failover."""
_RARER = 10
_RAREST = 60.0
"""A result is asked for after a tenth of the time that the provider has had, and at least once a minute."""
_NEW = 60.0
"""Seconds for which a provider may not know a prediction yet that it has just taken."""


# Locked in the order in which app.predictions.results locks them.
_BEGIN = """
    UPDATE predictions SET
        status = CASE predictions.status WHEN 'queued' THEN 'submitting' ELSE predictions.status END,
        updated_at = CASE predictions.status WHEN 'queued' THEN now() ELSE predictions.updated_at END
    FROM (
        SELECT id FROM predictions WHERE id IN (SELECT subject_id FROM {mine} AS claimed)
        ORDER BY id FOR NO KEY UPDATE
    ) AS locked
    WHERE predictions.id = locked.id
    RETURNING predictions.id, json_build_object(
        'id', predictions.id, 'provider', provider, 'model', model,
        'input', coalesce(input_text, CAST(input AS text)),
        'status', status, 'provider_id', provider_id, 'cancel', cancel_requested_at IS NOT NULL,
        'age', coalesce(extract(epoch FROM now() - submitted_at), 0)
    ) AS work
"""


@dataclass(frozen=True, kw_only=True)
class Work:
    """`input`: JSON, as it was accepted. `age`: seconds since the provider took it; 0 before."""

    id: uuid.UUID
    provider: ProviderName
    model: str
    input: str
    status: str
    provider_id: str | None
    cancel: bool
    age: float


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a run found out. `asked`: whether it saw that the prediction is called off."""

    change: Change | None
    asked: bool


class PredictionHandler:
    """See app.queue.handler.Handler."""

    @property
    def effects(self) -> Effects:
        return Effects(begin=_BEGIN, read=_work, also=store)

    def __init__(self, settings: Settings, clients: Mapping[ProviderName, ProviderClient]) -> None:
        self._clients = clients
        # Short, so that another worker takes over soon after this one vanished.
        self.lease = min(settings.queue_lease / 1000, 2 * request_timeout(settings) + _STORE_SECONDS)
        self._timeout = settings.prediction_timeout / 1000
        self._interval = settings.prediction_poll_interval / 1000
        self._grace = settings.prediction_webhook_grace / 1000
        self._webhook_base = settings.webhook_base_url if settings.webhook_secrets["replicate"] else None
        self._has_webhook = {
            "replicate": self._webhook_base is not None,
            "openai": bool(settings.webhook_secrets["openai"]),
        }

    def run(self, work: Work, job: Job) -> Outcome:  # noqa: ARG002
        if work.status not in OPEN_PREDICTION:
            return Outcome(result="done")
        client = self._clients.get(work.provider)
        if client is None:
            error = f"{work.provider} is not set up here: {work.provider.upper()}_API_KEY is not set"
            return self._later(work, error) if work.provider_id else Outcome(result="retry", error=error)
        if work.provider_id is not None:
            return self._look(client, work, work.provider_id)
        if work.cancel:
            return _end(Change(prediction_id=work.id, status="canceled"))
        return self._submit(client, work)

    def _submit(self, client: ProviderClient, work: Work) -> Outcome:
        webhook = None
        if work.provider == "replicate" and self._webhook_base:
            webhook = f"{self._webhook_base}/v1/webhooks/replicate?prediction={work.id}"
        submission = Submission(prediction_id=work.id, model=work.model, input=work.input, webhook=webhook)
        try:
            seen = client.submit(submission)
        except TryAgain as error:
            return Outcome(result="retry", error=str(error), at_least=error.after)
        except Refused as error:
            return _end(Change(prediction_id=work.id, status="failed", error=str(error)))
        return self._seen(work, seen)

    def _look(self, client: ProviderClient, work: Work, provider_id: str) -> Outcome:
        try:
            if work.cancel and (seen := _cancel(client, provider_id)) is not None:
                return self._seen(work, seen)
            seen = client.fetch(provider_id)
        except TryAgain as error:
            return self._given_up(client, work, provider_id) or self._later(work, str(error), at_least=error.after)
        except Refused as error:
            final = error.status in (404, 410) and work.age > _NEW
            if final or error.status < 300:
                return _end(Change(prediction_id=work.id, status="failed", error=str(error)))
            return self._given_up(client, work, provider_id) or self._later(work, str(error))
        if seen.finished:
            return self._seen(work, seen)
        return self._given_up(client, work, provider_id) or self._seen(work, seen)

    def _given_up(self, client: ProviderClient, work: Work, provider_id: str) -> Outcome | None:
        """The end of one that took too long, which costs money for as long as the provider works on it."""
        if work.age < self._timeout:
            return None
        try:
            seen = None if work.cancel else client.cancel(provider_id)
        except (TryAgain, Refused):
            seen = None
        if seen is not None and seen.status in ("succeeded", "failed"):
            return self._seen(work, seen)
        error = f"{work.provider} gave no result within {self._timeout:g} s"
        return Outcome(result="dead", error=error, detail=Change(prediction_id=work.id, status="failed", error=error))

    def _seen(self, work: Work, seen: Snapshot) -> Outcome:
        change = change_of(work.id, seen)
        if seen.finished:
            return _end(change)
        return Outcome(
            result="wait",
            at_least=self._pause(work),
            # What is known already need not be stored again.
            detail=Found(change=None if work.provider_id else change, asked=work.cancel),
            log={"provider": work.provider, "provider_id": seen.provider_id},
        )

    def _later(self, work: Work, reason: str, *, at_least: float = 0.0) -> Outcome:
        pause = max(self._pause(work), min(at_least, _RAREST))
        return Outcome(
            result="wait",
            at_least=pause,
            detail=Found(change=None, asked=work.cancel),
            log={"reason": reason, "provider": work.provider},
        )

    def _pause(self, work: Work) -> float:
        first = self._grace if self._has_webhook[work.provider] and not work.cancel else self._interval
        left = max(self._timeout - work.age, self._interval)
        return min(max(first, min(work.age / _RARER, _RAREST)), left)


def _end(change: Change) -> Outcome:
    """Its job is done, whatever the end is: a provider that refuses an input is nothing to alarm anybody about."""
    return Outcome(result="done", detail=Found(change=change, asked=False), log={"prediction": change.status})


def _cancel(client: ProviderClient, provider_id: str) -> Snapshot | None:
    """What the provider says; None when it must be asked how the prediction stands: it may have ended before."""
    try:
        return client.cancel(provider_id)
    except (Refused, TryAgain):
        return None


def _work(found: Mapping[str, Any]) -> Work:
    return Work(**{**found, "id": uuid.UUID(found["id"]), "age": float(found["age"])})


def store(connection: Connection, jobs: Sequence[Job]) -> None:
    """What came of the attempts. No part of the statement that stores them: of two predictions to which the provider
    gave one id, one fails, and a job that was just stored is stored again as due."""
    apply(connection, [change for job in jobs if (change := _change(job)) is not None])
    # Whoever called a prediction off during this run had nobody to tell.
    unaware = [
        job
        for job in jobs
        if job.ended_as.row_state == "pending"
        and not (isinstance(job.ended_as.detail, Found) and job.ended_as.detail.asked)
    ]
    if unaware:
        called_off = select(Prediction.id).where(
            Prediction.id.in_([job.subject_id for job in unaware]), Prediction.cancel_requested_at.is_not(None)
        )
        connection.execute(
            update(JobRow)
            .where(JobRow.id.in_([job.id for job in unaware]), JobRow.subject_id.in_(called_off))
            .values(run_at=func.now())
        )


def _change(job: Job) -> Change | None:
    outcome = job.ended_as
    if isinstance(outcome.detail, Found):
        return outcome.detail.change
    if outcome.result == "done":
        return None
    status: Literal["queued", "failed"] = "failed" if outcome.result == "dead" else "queued"
    return Change(prediction_id=job.subject_id, status=status, error=outcome.error)


def handlers(settings: Settings) -> dict[str, Handler]:
    providers = clients(settings)
    return {
        KIND: PredictionHandler(settings, providers),
        webhooks.KIND: WebhookHandler(settings, providers),
    }
