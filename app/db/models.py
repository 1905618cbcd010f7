"""The tables. Postgres is the record of everything accepted; Redis only wakes workers and may be lost.

`jobs` is both the outbox and the lease: a request commits its own row and a pending job in one transaction, and a
worker may act on a job only while it holds its lease at the attempt number that it claimed (the fencing token).
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

DeliveryStatus = Literal["pending", "delivering", "delivered", "failed"]
JobState = Literal["pending", "running", "done", "dead"]

PredictionStatus = Literal["queued", "submitting", "processing", "succeeded", "failed", "canceled"]

DELIVERY_STATUSES: tuple[DeliveryStatus, ...] = ("pending", "delivering", "delivered", "failed")
JOB_STATES: tuple[JobState, ...] = ("pending", "running", "done", "dead")
OPEN_PREDICTION: tuple[PredictionStatus, ...] = ("queued", "submitting", "processing")
PREDICTION_STATUSES: tuple[PredictionStatus, ...] = (*OPEN_PREDICTION, "succeeded", "failed", "canceled")


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(v) for v in values)})"


class Base(DeclarativeBase):
    """Constraint names are fixed by convention, so that a migration can name what it drops."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a class attribute
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        dict[str, str]: JSONB,
        uuid.UUID: Uuid(),
        str: Text(),
    }


class User(Base):
    """An account. `email` is stored as app.accounts.email_address normalises it; the unique key is what makes
    registering twice a conflict."""

    __tablename__ = "users"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RefreshToken(Base):
    """One refresh token, by hash. A family is the chain that began at a login.

    A family has one token that was not used yet, its end. Using another one again, later than a short grace after its
    first use, shows that it was copied, and revokes its family.
    """

    __tablename__ = "refresh_tokens"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    family_id: Mapped[uuid.UUID] = mapped_column(index=True)
    issued_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Delivery(Base):
    """An outbound webhook that a user asked for."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("user_id", "idempotency_key"),
        CheckConstraint(_one_of("status", DELIVERY_STATUSES), name="status"),
        # The list endpoint pages through one user's deliveries, newest first.
        Index("ix_deliveries_user_id_created_at_id", "user_id", "created_at", "id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    url: Mapped[str]
    payload: Mapped[Any] = mapped_column(JSONB)
    """For the version that knows no `payload_text`, and in rows of its; see docs/decisions/0028."""
    payload_text: Mapped[str | None]
    """The payload as it was accepted: what is sent and shown."""
    headers: Mapped[dict[str, str]] = mapped_column(server_default=text("'{}'::jsonb"))
    max_attempts: Mapped[int]
    status: Mapped[str] = mapped_column(server_default="pending")
    idempotency_key: Mapped[str | None]
    request_hash: Mapped[bytes | None]
    """SHA-256 of the request that first used the key: the same key with another body is a conflict."""
    last_error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    completed_at: Mapped[datetime | None]


class DeliveryAttempt(Base):
    """One HTTP request made for a delivery, and what came of it."""

    __tablename__ = "delivery_attempts"
    __table_args__ = (UniqueConstraint("delivery_id", "number"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    delivery_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"))
    number: Mapped[int]
    """1 for the first attempt; goes on counting over manual retries."""
    started_at: Mapped[datetime]
    duration_ms: Mapped[int]
    status_code: Mapped[int | None]
    """None when no response came."""
    error: Mapped[str | None]
    response_excerpt: Mapped[str | None]
    """At most 2,048 characters, NULs removed."""


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
        CheckConstraint(_one_of("status", PREDICTION_STATUSES), name="status"),
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
    """The prediction that has ended, as the provider names it; None when it tells of something else."""
    reference: Mapped[uuid.UUID | None]
    """The prediction as we named it when we asked for the webhook; its row may not know `provider_id` yet."""
    body: Mapped[bytes | None]
    """As it was signed, until it is processed: its content is in the prediction then."""
    result: Mapped[str | None]
    """What came of it."""
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())
    processed_at: Mapped[datetime | None]


class Job(Base):
    """Work to be done once. `id` is also the RQ job id.

    pending: waits for `run_at` and a worker. `enqueued_at` is set by the claim or by the sweeper that put the job on
    the queue, not by the nudge after a commit, which would cost every request a statement; so None means "not seen by
    a worker yet" (the outbox).
    running: claimed until `lease_until` as `attempt`; done: its effect is committed; dead: `attempt` reached
    `max_attempts` or the failure is final, see `last_error`.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(_one_of("state", JOB_STATES), name="state"),
        # What the relay and the sweeper look for; finished jobs stay out of the index.
        Index("ix_jobs_open", "run_at", postgresql_where=text("state IN ('pending', 'running')")),
        Index("ix_jobs_subject_id", "subject_id"),
        # How many failed lately, without reading all that ever did.
        Index("ix_jobs_dead", "finished_at", postgresql_where=text("state = 'dead'")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    queue: Mapped[str]
    subject_id: Mapped[uuid.UUID]
    """The row that the job works on, by kind: `deliveries`, `predictions`, `inbound_webhooks` (``webhook``)."""
    state: Mapped[str] = mapped_column(server_default="pending")
    attempt: Mapped[int] = mapped_column(Integer, server_default="0")
    max_attempts: Mapped[int]
    run_at: Mapped[datetime] = mapped_column(server_default=func.now())
    enqueued_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    claimed_by: Mapped[str | None]
    correlation_id: Mapped[str | None]
    traceparent: Mapped[str | None]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]
