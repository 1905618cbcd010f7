"""Predictions and the providers' webhooks that tell of their ends."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIMESTAMP = sa.DateTime(timezone=True)


def upgrade() -> None:
    _predictions()
    _inbound_webhooks()


def _predictions() -> None:
    op.create_table(
        "predictions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("input", JSONB(), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("provider_id", sa.Text()),
        sa.Column("output", JSONB()),
        sa.Column("error", sa.Text()),
        sa.Column("idempotency_key", sa.Text()),
        sa.Column("request_hash", sa.LargeBinary()),
        sa.Column("cancel_requested_at", TIMESTAMP),
        sa.Column("submitted_at", TIMESTAMP),
        sa.Column("created_at", TIMESTAMP, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", TIMESTAMP, server_default=sa.func.now(), nullable=False),
        sa.Column("completed_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("id", name="pk_predictions"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_predictions_user_id", ondelete="CASCADE"),
        sa.UniqueConstraint("user_id", "idempotency_key", name="uq_predictions_user_id_idempotency_key"),
        sa.UniqueConstraint("provider", "provider_id", name="uq_predictions_provider_provider_id"),
        sa.CheckConstraint(
            "status IN ('queued', 'submitting', 'processing', 'succeeded', 'failed', 'canceled')",
            name=op.f("ck_predictions_status"),
        ),
    )
    op.create_index("ix_predictions_user_id_created_at_id", "predictions", ["user_id", "created_at", "id"])
    op.create_index(
        "ix_predictions_unknown",
        "predictions",
        ["provider"],
        postgresql_where=sa.text("provider_id IS NULL AND completed_at IS NULL"),
    )


def _inbound_webhooks() -> None:
    op.create_table(
        "inbound_webhooks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text()),
        sa.Column("reference", sa.Uuid()),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("result", sa.Text()),
        sa.Column("received_at", TIMESTAMP, server_default=sa.func.now(), nullable=False),
        sa.Column("processed_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("id", name="pk_inbound_webhooks"),
        sa.UniqueConstraint("provider", "webhook_id", name="uq_inbound_webhooks_provider_webhook_id"),
    )
