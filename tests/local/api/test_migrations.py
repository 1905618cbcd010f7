"""Migrations on a real Postgres: from nothing, again, two at once, and refused without a trace."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, text

from app.db import locks
from app.db.base import Base
from app.db.engine import sync_engine
from app.migrations import revisions, runner
from app.migrations.runner import MigrationError, migrate
from app.settings import Settings


def settings_for(url: str, **more: str) -> Settings:
    return Settings.load({"MODE": "migrate", "ENVIRONMENT": "test", "DATABASE_URL": url, **more})


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {name for (name,) in rows}


def test_from_nothing_then_nothing_to_do(database_url: str) -> None:
    first, second = migrate(settings_for(database_url)), migrate(settings_for(database_url))

    assert (first.before, first.after) == (None, revisions.HEAD)
    assert not second.changed


def test_the_tables_are_the_models(migrated_url: str) -> None:
    engine = sync_engine(settings_for(migrated_url), pooled=False)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_check_constraints_are_the_models(migrated_url: str) -> None:
    """Alembic does not compare check constraints."""
    constraints = [c for table in Base.metadata.tables.values() for c in table.constraints]
    models = {str(c.name) for c in constraints if isinstance(c, CheckConstraint)}
    engine = sync_engine(settings_for(migrated_url), pooled=False)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT conname FROM pg_constraint WHERE contype = 'c'")).scalars()
        assert {name for name in found if name.startswith("ck_")} == models


def test_two_at_once_both_succeed_and_one_works(database_url: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(migrate, [settings_for(database_url)] * 2))

    assert sorted(r.changed for r in results) == [False, True]


@pytest.mark.flips("migration_lock_timeout")
def test_waits_for_another_migration_only_so_long(database_url: str) -> None:
    with ThreadPoolExecutor(1) as pool, psycopg.connect(database_url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [locks.MIGRATION])
        patient = pool.submit(migrate, settings_for(database_url, MIGRATION_LOCK_TIMEOUT="20000"))
        with pytest.raises(MigrationError, match="MIGRATION_LOCK_TIMEOUT"):
            migrate(settings_for(database_url, MIGRATION_LOCK_TIMEOUT="50"))
        assert not patient.done()
        other.execute("SELECT pg_advisory_unlock(%s)", [locks.MIGRATION])
        assert patient.result().changed


def test_a_failure_leaves_nothing_behind(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE jobs (id int)")

    with pytest.raises(MigrationError, match='relation "jobs" already exists'):
        migrate(settings_for(database_url))

    assert tables(database_url) == {"jobs"}


def test_a_newer_schema_is_left_alone(migrated_url: str) -> None:
    with psycopg.connect(migrated_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    assert migrate(settings_for(migrated_url)).after == "9999"


@pytest.mark.flips("database_owner_role")
@pytest.mark.parametrize("given", [True, False])
def test_the_owner_role_owns_the_tables(database_url: str, given: bool) -> None:
    role = database_url.rsplit("/", 1)[1].partition("?")[0] + "_owner"
    with psycopg.connect(database_url) as connection:
        connection.execute(f"CREATE ROLE {role}")
        connection.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
    try:
        migrate(settings_for(database_url, **({"DATABASE_OWNER_ROLE": role} if given else {})))
        with psycopg.connect(database_url) as connection:
            owners = connection.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
            assert owners.fetchall() == [(role if given else "postgres",)]
    finally:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")


def test_exit_codes(database_url: str) -> None:
    assert runner.run(settings_for(database_url)) == 0
    assert runner.run(settings_for("postgresql://nobody@127.0.0.1:1/none")) == 1
