"""JSON as the text that was accepted, beside the jsonb that changes it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Beside, not instead: the version before this one reads and writes the others while the two change places, and
    # another type would rewrite the tables with everybody shut out, and fail the statements that it has prepared. Rows
    # that are there already stay as they are, for what was accepted of them is not known any more.
    op.add_column("deliveries", sa.Column("payload_text", sa.Text()))
    op.add_column("predictions", sa.Column("input_text", sa.Text()))
    op.add_column("predictions", sa.Column("output_text", sa.Text()))
