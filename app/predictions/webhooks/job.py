"""Jobs of kind `webhook`: apply what a provider told of a prediction's end.

A webhook may know of a prediction more than its row does: the worker that handed it over has not stored the provider's
id yet, or vanished before it could. It names the prediction by our own id, too, which came back in its address
(Replicate) or in the result (OpenAI).
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, exists, func, select, text, update
from sqlalchemy.orm import aliased

from app.db import locks
from app.predictions.models import OPEN_PREDICTION, InboundWebhook, Prediction
from app.predictions.providers.base import ProviderName, Snapshot, Unreadable, parse
from app.predictions.providers.client import ProviderClient, Refused, TryAgain, request_timeout
from app.predictions.providers.dialects import DIALECTS
from app.predictions.results import Change, apply, change_of, end_jobs
from app.queue.claims import Claim
from app.queue.handler import Outcome
from app.settings import Settings

_STORE_SECONDS = 20.0
_PATIENCE = 60.0
"""Seconds for which a webhook of an unknown prediction is kept: longer than a worker needs to store an id."""
_LOOK_AGAIN = 2.0

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
    """`prediction`: whose end it tells of, as far as the rows say. `unknown`: whether it may be of one whose row does
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
    """See app.queue.handler.Transactional."""

    inline = None

    def __init__(self, settings: Settings, clients: Mapping[ProviderName, ProviderClient]) -> None:
        self._clients = clients
        self.lease = min(settings.queue_lease / 1000, request_timeout(settings) + _STORE_SECONDS)

    def begin(self, connection: Connection, claims: Sequence[Claim]) -> Mapping[uuid.UUID, Work]:
        known, named, other = aliased(Prediction), aliased(Prediction), aliased(Prediction)
        rows = connection.execute(
            select(
                InboundWebhook.id,
                InboundWebhook.provider,
                InboundWebhook.provider_id,
                InboundWebhook.body,
                func.coalesce(known.id, named.id).label("prediction"),
                func.coalesce(known.status, named.status).not_in(OPEN_PREDICTION).label("ended"),
                exists()
                .where(
                    other.provider == InboundWebhook.provider,
                    other.provider_id.is_(None),
                    other.completed_at.is_(None),
                )
                .label("unknown"),
                func.extract("epoch", func.now() - InboundWebhook.received_at).label("age"),
            )
            .outerjoin(
                known,
                and_(known.provider == InboundWebhook.provider, known.provider_id == InboundWebhook.provider_id),
            )
            .outerjoin(
                named,
                and_(
                    named.id == InboundWebhook.reference,
                    named.provider == InboundWebhook.provider,
                    named.provider_id.is_(None),
                ),
            )
            .where(InboundWebhook.id.in_([claimed.subject_id for claimed in claims]))
        )
        works = {
            row.id: Work(
                provider=row.provider,
                provider_id=row.provider_id or "",
                body=row.body or b"",
                prediction=row.prediction,
                ended=bool(row.ended),
                unknown=row.unknown,
                age=float(row.age),
            )
            for row in rows
        }
        return {claimed.job_id: works[claimed.subject_id] for claimed in claims if claimed.subject_id in works}

    def run(self, work: Work, claimed: Claim) -> Outcome:  # noqa: ARG002
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

    def store(self, connection: Connection, ended: Sequence[tuple[Claim, Outcome]]) -> None:
        told: dict[ProviderName, list[Change]] = defaultdict(list)
        for _, outcome in ended:
            if isinstance(outcome.detail, News):
                told[outcome.detail.provider].append(outcome.detail.change)
        changed: set[uuid.UUID] = set()
        if len(told) > 1:
            # All of them in the one order, before one provider's are locked after the other's.
            ids = [change.prediction_id for changes in told.values() for change in changes]
            connection.execute(locks.in_order(Prediction.id, Prediction.id.in_(ids)))
        for provider in sorted(told):
            changed |= apply(connection, told[provider], provider=provider)
        if changed:
            end_jobs(connection, changed)
        processed = [(claimed, outcome) for claimed, outcome in ended if outcome.result in ("done", "dead")]
        if processed:
            connection.execute(
                _PROCESSED,
                {
                    "ids": [claimed.subject_id for claimed, _ in processed],
                    "results": [_said(outcome, changed) for _, outcome in processed],
                    "kept": [outcome.result == "dead" for _, outcome in processed],
                },
            )

    def abandoned(self, connection: Connection, subject_ids: list[uuid.UUID], *, dead: bool, error: str | None) -> None:
        if dead:
            connection.execute(
                update(InboundWebhook)
                .where(InboundWebhook.id.in_(locks.in_order(InboundWebhook.id, InboundWebhook.id.in_(subject_ids))))
                .values(processed_at=func.now(), result=error)
            )

    def _result(self, work: Work) -> Snapshot | None:
        """The prediction as it ended; None when only its provider knows, and cannot be asked."""
        notice = DIALECTS[work.provider].notice(parse(work.body))
        if notice is None:
            raise Unreadable("it tells of no end")
        if notice.snapshot is not None:
            return notice.snapshot
        client = self._clients.get(work.provider)
        return client.fetch(notice.provider_id) if client else None


def _ignored(reason: str) -> Outcome:
    return Outcome(result="done", detail=reason, log={"ignored": reason})


def _said(outcome: Outcome, changed: set[uuid.UUID]) -> str | None:
    if isinstance(outcome.detail, News):
        return "applied" if outcome.detail.change.prediction_id in changed else "the prediction had ended"
    return outcome.error or outcome.detail
