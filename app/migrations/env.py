"""Alembic's entry: runs the migrations on the connection, and in the transaction, that the runner opened."""

from __future__ import annotations

from alembic import context

from app import composition

context.configure(connection=context.config.attributes["connection"], target_metadata=composition.metadata())
context.run_migrations()
