"""Jobs of kind `prediction`: hand a prediction to its provider, then see it through to its end.

The first run submits, and stores the provider's id; every later one asks for the result, unless a webhook has told it
by then. Only handing over takes attempts. Waiting for a provider that computes, or that is away, takes none: it ends
by PREDICTION_TIMEOUT.

Submitted at least once: a worker that vanishes between the provider's answer and its storing leaves an id that nobody
knows, and the next one submits again, with the same Idempotency-Key and the same address for the webhook.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Text, cast, func, select, update

from app.db import locks
from app.predictions import KIND, webhooks
from app.predictions.models import OPEN_PREDICTION, Prediction
from app.predictions.providers.base import ProviderName, Snapshot, Submission
from app.predictions.providers.client import ProviderClient, Refused, TryAgain, clients, request_timeout
from app.predictions.results import Change, apply, change_of
from app.predictions.webhooks.job import WebhookHandler
from app.queue.claims import Claim
from app.queue.handler import Handler, Outcome
from app.queue.models import Job
from app.settings import Settings

_STORE_SECONDS = 20.0
"""Left of the lease after two requests, to store what came of them while Postgres comes back from a failover."""
_RARER = 10
_RAREST = 60.0
"""A result is asked for after a tenth of the time that the provider has had, and at least once a minute."""
_NEW = 60.0
"""Seconds for which a provider may not know a prediction yet that it has just taken."""


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
class Step:
    """What a run found out. `asked`: whether it knew that the prediction is called off."""

    change: Change | None
    asked: bool


class PredictionHandler:
    """See app.queue.handler.Transactional."""

    inline = None

    def __init__(self, settings: Settings, clients: Mapping[ProviderName, ProviderClient]) -> None:
        self._clients = clients
        # Short, so that another worker takes over soon after this one vanished.
        self.lease = min(settings.queue_lease / 1000, 2 * request_timeout(settings) + _STORE_SECONDS)
        self._timeout = settings.prediction_timeout / 1000
        self._interval = settings.prediction_poll_interval / 1000
        self._grace = settings.prediction_webhook_grace / 1000
        self._webhook_base = settings.webhook_base_url if settings.webhook_secrets["replicate"] else None
        self._told = {"replicate": self._webhook_base is not None, "openai": bool(settings.webhook_secrets["openai"])}

    def begin(self, connection: Connection, claims: Sequence[Claim]) -> Mapping[uuid.UUID, Work]:
        # In the order in which app.predictions.results locks them.
        rows = connection.execute(
            select(
                Prediction.id,
                Prediction.provider,
                Prediction.model,
                func.coalesce(Prediction.input_text, cast(Prediction.input, Text)).label("input"),
                Prediction.status,
                Prediction.provider_id,
                Prediction.cancel_requested_at.is_not(None).label("cancel"),
                func.coalesce(func.extract("epoch", func.now() - Prediction.submitted_at), 0).label("age"),
            )
            .where(Prediction.id.in_([claimed.subject_id for claimed in claims]))
            .order_by(Prediction.id)
            .with_for_update(key_share=True)
        ).all()
        if queued := [row.id for row in rows if row.status == "queued"]:
            connection.execute(
                update(Prediction).where(Prediction.id.in_(queued)).values(status="submitting", updated_at=func.now())
            )
        works = {row.id: Work(**{**row._mapping, "age": float(row.age)}) for row in rows}
        return {claimed.job_id: works[claimed.subject_id] for claimed in claims if claimed.subject_id in works}

    def run(self, work: Work, claimed: Claim) -> Outcome:  # noqa: ARG002
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

    def store(self, connection: Connection, ended: Sequence[tuple[Claim, Outcome]]) -> None:
        apply(connection, [change for claimed, outcome in ended if (change := _change(claimed, outcome)) is not None])
        # Whoever called a prediction off during this run had nobody to tell.
        unaware = [
            claimed
            for claimed, outcome in ended
            if outcome.result in ("wait", "retry") and not (isinstance(outcome.detail, Step) and outcome.detail.asked)
        ]
        if unaware:
            called_off = select(Prediction.id).where(
                Prediction.id.in_([claimed.subject_id for claimed in unaware]),
                Prediction.cancel_requested_at.is_not(None),
            )
            connection.execute(
                update(Job)
                .where(Job.id.in_([claimed.job_id for claimed in unaware]), Job.subject_id.in_(called_off))
                .values(run_at=func.now())
            )

    def abandoned(self, connection: Connection, subject_ids: list[uuid.UUID], *, dead: bool, error: str | None) -> None:
        told = {} if error is None else {"error": error}
        # In the order in which app.predictions.results locks them.
        status = Prediction.status.in_(OPEN_PREDICTION) if dead else Prediction.status == "submitting"
        mine = locks.in_order(Prediction.id, Prediction.id.in_(subject_ids), status)
        statement = update(Prediction).where(Prediction.id.in_(mine)).values(updated_at=func.now(), **told)
        if dead:
            statement = statement.values(status="failed", completed_at=func.now())
        else:
            statement = statement.values(status="queued")
        connection.execute(statement)

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
            detail=Step(change=None if work.provider_id else change, asked=work.cancel),
            log={"provider": work.provider, "provider_id": seen.provider_id},
        )

    def _later(self, work: Work, reason: str, *, at_least: float = 0.0) -> Outcome:
        pause = max(self._pause(work), min(at_least, _RAREST))
        return Outcome(
            result="wait",
            at_least=pause,
            detail=Step(change=None, asked=work.cancel),
            log={"reason": reason, "provider": work.provider},
        )

    def _pause(self, work: Work) -> float:
        first = self._grace if self._told[work.provider] and not work.cancel else self._interval
        left = max(self._timeout - work.age, self._interval)
        return min(max(first, min(work.age / _RARER, _RAREST)), left)


def _end(change: Change) -> Outcome:
    """Its job is done, whatever the end is: a provider that refuses an input is nothing to alarm anybody about."""
    return Outcome(result="done", detail=Step(change=change, asked=False), log={"prediction": change.status})


def _cancel(client: ProviderClient, provider_id: str) -> Snapshot | None:
    """What the provider says; None when it must be asked how the prediction stands: it may have ended before."""
    try:
        return client.cancel(provider_id)
    except (Refused, TryAgain):
        return None


def _change(claimed: Claim, outcome: Outcome) -> Change | None:
    if isinstance(outcome.detail, Step):
        return outcome.detail.change
    if outcome.result == "retry":
        return Change(prediction_id=claimed.subject_id, status="queued", error=outcome.error)
    if outcome.result == "dead":
        return Change(prediction_id=claimed.subject_id, status="failed", error=outcome.error)
    return None


def handlers(settings: Settings) -> dict[str, Handler]:
    providers = clients(settings)
    return {
        KIND: PredictionHandler(settings, providers),
        webhooks.KIND: WebhookHandler(settings, providers),
    }
