"""The tables of deliveries."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, one_of

DeliveryStatus = Literal["pending", "delivering", "delivered", "failed"]
DELIVERY_STATUSES: tuple[DeliveryStatus, ...] = ("pending", "delivering", "delivered", "failed")


class Delivery(Base):
    """An outbound webhook that a user asked for."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("user_id", "idempotency_key"),
        one_of("status", DELIVERY_STATUSES),
        # The list endpoint pages through one user's deliveries, newest first.
        Index("ix_deliveries_user_id_created_at_id", "user_id", "created_at", "id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    url: Mapped[str]
    payload: Mapped[Any] = mapped_column(JSONB)
    """For the version before `payload_text`, and of its rows; see docs/decisions/0028."""
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
