"""Find the jobs that failed lately without reading all that ever did."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not concurrently, which no transaction allows: few jobs are dead, and reading past the others takes a second a
    # million. A statement that waits longer for the table gives up by MIGRATION_LOCK_TIMEOUT.
    op.create_index("ix_jobs_dead", "jobs", ["finished_at"], postgresql_where=sa.text("state = 'dead'"))
