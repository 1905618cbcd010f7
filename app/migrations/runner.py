"""Bring the schema to the newest revision: `MODE=migrate`.

All of it happens in one transaction that first takes an advisory lock: a failure, a kill or a second migration at the
same time leaves the schema either as it was or complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.db import errors, locks
from app.db.engine import sync_engine
from app.migrations import revisions
from app.observability.logging import get_logger
from app.settings import Settings

log = get_logger()


class MigrationError(Exception):
    """The schema was not changed; the message says why and what to do."""


@dataclass(frozen=True)
class Migrated:
    before: str | None
    """Revision found; None for a database without our tables."""
    after: str | None

    @property
    def changed(self) -> bool:
        return self.before != self.after


def run(settings: Settings) -> int:
    """`migrate`, told in the log; the process's exit code."""
    try:
        result = migrate(settings)
    except MigrationError as error:
        log.error("migration failed, nothing was changed", reason=str(error))
        return 1
    message = "schema migrated" if result.changed else "schema is up to date"
    log.info(message, **{"from": result.before or "empty", "to": result.after})
    return 0


def migrate(settings: Settings) -> Migrated:
    """Upgrade to the newest revision; raises MigrationError with the reason when nothing was changed."""
    engine = sync_engine(settings, pooled=False)

    def run_once() -> Migrated:
        with engine.begin() as connection:
            _prepare(connection, settings)
            return _upgrade(connection)

    try:
        # A lock that it takes on a table may cross those of the running version, which are taken row by row.
        return errors.again(run_once)
    except DBAPIError as error:
        raise MigrationError(_refused(error, settings)) from error
    except SQLAlchemyError as error:
        raise MigrationError(str(error)) from error
    finally:
        engine.dispose()


def _prepare(connection: Connection, settings: Settings) -> None:
    milliseconds = {"timeout": f"{settings.migration_lock_timeout}ms"}
    connection.execute(text("SELECT set_config('lock_timeout', :timeout, true)"), milliseconds)
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": locks.MIGRATION})
    if settings.database_owner_role:
        role = connection.dialect.identifier_preparer.quote_identifier(settings.database_owner_role)
        connection.execute(text(f"SET LOCAL ROLE {role}"))


def _upgrade(connection: Connection) -> Migrated:
    before = MigrationContext.configure(connection).get_current_revision()
    if before is not None and before not in revisions.KNOWN:
        # A roll-back of the code: schemas only ever expand before they contract, so the older code runs on it.
        log.warning("the schema is newer than this version of the application, left as it is", revision=before)
        return Migrated(before=before, after=before)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return Migrated(before=before, after=MigrationContext.configure(connection).get_current_revision())


def _refused(error: DBAPIError, settings: Settings) -> str:
    if errors.kind(error) is errors.Kind.READ_ONLY:
        return "the server takes no writes, it is a standby or was demoted: run it again at the address of the primary"
    if errors.sqlstate(error) == "55P03":
        return (
            f"a lock was not free within {settings.migration_lock_timeout} ms: another migration or a long transaction "
            "holds it. Run it again when that has ended, or raise MIGRATION_LOCK_TIMEOUT"
        )
    return str(error.orig).strip().partition("\n")[0]
