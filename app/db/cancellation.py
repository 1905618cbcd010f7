"""A statement that is under way in another task, and how it is ended."""

from __future__ import annotations

from collections.abc import Coroutine

import psycopg
from psycopg.errors import QueryCanceled
from sqlalchemy.ext.asyncio import AsyncConnection

from app.observability.logging import get_logger

_ASKING_SECONDS = 5.0

log = get_logger()


def end_statement(connection: AsyncConnection) -> Coroutine[None, None, None]:
    """Ask the server to cancel the statement of the connection; the task that waits for it gets its outcome.

    To be called while it is executed; what is returned may be awaited later. Poolers may not pass it on: RDS Proxy
    does not.
    """
    under_way = connection.sync_connection
    assert under_way is not None
    driver = under_way.connection.driver_connection
    assert isinstance(driver, psycopg.AsyncConnection)
    return _ask(driver)


async def _ask(driver: psycopg.AsyncConnection) -> None:
    try:
        await driver.cancel_safe(timeout=_ASKING_SECONDS)
    except (psycopg.Error, OSError) as error:
        log.warning("a statement could not be ended", reason=type(error).__name__)


def is_canceled(error: Exception) -> bool:
    """Whether the server ended the statement early, so that nothing of it is stored."""
    return isinstance(getattr(error, "orig", None), QueryCanceled)
