"""What becomes of predictions, by the job that asked or by the webhook."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import Connection, func, select, text, tuple_, update

from app.json_text import dumps
from app.predictions import KIND
from app.predictions.models import OPEN_PREDICTION, Prediction
from app.predictions.providers.base import Snapshot
from app.queue.models import Job

_Row = Any
"""Id, provider, status and provider's id of a prediction."""
_FOREIGN_ID = "the provider gave it an id that another prediction has"

# What was known of the id and the time of its submission stays.
_CHANGE = text("""
    UPDATE predictions SET
        status = made.status,
        provider_id = coalesce(predictions.provider_id, made.provider_id),
        output = CAST(made.output AS jsonb),
        output_text = made.output,
        error = CASE WHEN made.status = 'queued' THEN coalesce(made.error, predictions.error) ELSE made.error END,
        submitted_at = CASE WHEN made.provider_id IS NULL THEN predictions.submitted_at
                       ELSE coalesce(predictions.submitted_at, now()) END,
        updated_at = now(),
        completed_at = CASE WHEN made.ended THEN now() END
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:statuses AS text[]), CAST(:provider_ids AS text[]), CAST(:outputs AS text[]),
        CAST(:errors AS text[]), CAST(:ended AS bool[])
    ) AS made (id, status, provider_id, output, error, ended)
    WHERE predictions.id = made.id
""")


@dataclass(frozen=True, kw_only=True)
class Change:
    """A step of one prediction."""

    prediction_id: uuid.UUID
    status: Literal["queued", "processing", "succeeded", "failed", "canceled"]
    provider_id: str | None = None
    output: Any = None
    error: str | None = None

    @property
    def ended(self) -> bool:
        return self.status not in OPEN_PREDICTION


def change_of(prediction_id: uuid.UUID, seen: Snapshot) -> Change:
    return Change(
        prediction_id=prediction_id,
        status=seen.status,
        provider_id=seen.provider_id,
        output=seen.output,
        error=seen.error,
    )


def apply(connection: Connection, changes: Iterable[Change], *, provider: str | None = None) -> set[uuid.UUID]:
    """Take each step that can be taken; the ids of the predictions that took theirs.

    An end is for good, and a prediction that has an id of its provider is not changed by news of another. `provider`:
    that the changes are of, where the prediction was not named by our own job.
    """
    wanted = {change.prediction_id: change for change in changes}
    # In one order everywhere: a batch of jobs and a batch of webhooks may hold the same predictions.
    rows = connection.execute(
        select(Prediction.id, Prediction.provider, Prediction.status, Prediction.provider_id)
        .where(Prediction.id.in_(wanted))
        .order_by(Prediction.id)
        .with_for_update(key_share=True)
    ).all()
    steps = [(row, wanted[row.id]) for row in rows if _fits(row, wanted[row.id], provider)]
    taken = _without_foreign_ids(connection, steps)
    if taken:
        connection.execute(
            _CHANGE,
            {
                "ids": [change.prediction_id for change in taken],
                "statuses": [change.status for change in taken],
                "provider_ids": [change.provider_id for change in taken],
                "outputs": [None if change.output is None else dumps(change.output) for change in taken],
                "errors": [change.error for change in taken],
                "ended": [change.ended for change in taken],
            },
        )
    return {change.prediction_id for change in taken}


def end_jobs(connection: Connection, prediction_ids: Iterable[uuid.UUID]) -> None:
    """The waiting jobs of these predictions have nothing left to do.

    One that is being claimed is skipped, not waited for: the claim waits for the prediction, which is ours.
    """
    waiting = (
        select(Job.id)
        .where(Job.subject_id.in_(list(prediction_ids)), Job.kind == KIND, Job.state == "pending")
        .with_for_update(skip_locked=True)
    )
    connection.execute(
        update(Job).where(Job.id.in_(waiting)).values(state="done", finished_at=func.now(), last_error=None)
    )


def _fits(row: _Row, change: Change, provider: str | None) -> bool:
    if row.status not in OPEN_PREDICTION or provider not in (None, row.provider):
        return False
    if change.status == "queued":
        return bool(row.status == "submitting")
    return change.provider_id is None or row.provider_id in (None, change.provider_id)


def _without_foreign_ids(connection: Connection, steps: Sequence[tuple[_Row, Change]]) -> list[Change]:
    """The steps, with a failure in place of one that would give two predictions the same id: a webhook
    could be about either, and the database refuses it."""
    new = [(row.provider, change.provider_id) for row, change in steps if change.provider_id and not row.provider_id]
    owners: dict[tuple[str, str], uuid.UUID] = {}
    if new:
        known = connection.execute(
            select(Prediction.provider, Prediction.provider_id, Prediction.id).where(
                tuple_(Prediction.provider, Prediction.provider_id).in_(new)
            )
        )
        owners = {(row.provider, row.provider_id): row.id for row in known if row.provider_id}
    taken = []
    for row, change in steps:
        if change.provider_id and owners.setdefault((row.provider, change.provider_id), row.id) != row.id:
            change = replace(change, status="failed", provider_id=None, output=None, error=_FOREIGN_ID)
        taken.append(change)
    return taken
