"""The tables of predictions and of the webhooks about their ends."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, one_of

PredictionStatus = Literal["queued", "submitting", "processing", "succeeded", "failed", "canceled"]
OPEN_PREDICTION: tuple[PredictionStatus, ...] = ("queued", "submitting", "processing")
PREDICTION_STATUSES: tuple[PredictionStatus, ...] = (*OPEN_PREDICTION, "succeeded", "failed", "canceled")


class Prediction(Base):
    """A result that a user wants of a provider.

    queued: to be handed to the provider; submitting: a worker is at it; processing: the provider has it, by
    `provider_id`. The other three are ends, which nothing changes any more.
    """

    __tablename__ = "predictions"
    __table_args__ = (
        UniqueConstraint("user_id", "idempotency_key"),
        # By which a webhook finds its prediction.
        UniqueConstraint("provider", "provider_id"),
        one_of("status", PREDICTION_STATUSES),
        Index("ix_predictions_user_id_created_at_id", "user_id", "created_at", "id"),
        # Those that a webhook of an unknown id may be about.
        Index(
            "ix_predictions_unknown",
            "provider",
            postgresql_where=text("provider_id IS NULL AND completed_at IS NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    provider: Mapped[str]
    model: Mapped[str]
    input: Mapped[dict[str, Any]]
    input_text: Mapped[str | None]
    """The input as it was accepted. It stands beside `input` as a delivery's `payload_text` beside `payload`."""
    status: Mapped[str] = mapped_column(server_default="queued")
    provider_id: Mapped[str | None]
    output: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    output_text: Mapped[str | None]
    """The output as it was taken from the provider's answer; beside `output` as above."""
    error: Mapped[str | None]
    """Why it failed; while it is open, why it was not handed over at the last attempt."""
    idempotency_key: Mapped[str | None]
    request_hash: Mapped[bytes | None]
    """As of a delivery."""
    cancel_requested_at: Mapped[datetime | None]
    submitted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    completed_at: Mapped[datetime | None]


class InboundWebhook(Base):
    """A provider's webhook whose signature was right. The unique key is what makes one that comes twice count once."""

    __tablename__ = "inbound_webhooks"
    __table_args__ = (UniqueConstraint("provider", "webhook_id"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    provider: Mapped[str]
    webhook_id: Mapped[str]
    provider_id: Mapped[str | None]
    """The prediction that has ended, as the provider names it; None when it is about something else."""
    reference: Mapped[uuid.UUID | None]
    """The prediction as we named it when we asked for the webhook; its row may not know `provider_id` yet."""
    body: Mapped[bytes | None]
    """As it was signed, until it is processed: its content is in the prediction then."""
    result: Mapped[str | None]
    """What came of it."""
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())
    processed_at: Mapped[datetime | None]
