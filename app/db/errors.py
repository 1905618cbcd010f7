"""What an error of the database means, by its SQLSTATE.

Not by its class: psycopg's classes follow the first two characters of the state, and those say little. A server that
became read-only raises `InternalError`, as a bug would; `OperationalError` is a server that is away, a deadlock, and
a value that is too large for an index. So a failover was answered 500, and one result that could not be stored held up
all others as if the server were away.

Only what never reached the server, or never came back, has no state: libpq's own words, for which the class is all
there is.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final, TypeVar

import psycopg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

T = TypeVar("T")

WRITE_PROBE: Final = "SELECT 1 FROM jobs LIMIT 0 FOR UPDATE"
"""Fails as a write would, for want of rights or on a server that takes none, and writes nothing."""
TRIES: Final = 4
"""How often what another transaction kept from happening is tried before it counts as failed."""
_PAUSE: Final = 0.02
"""Seconds, times the number of the try and a random share: two that were in each other's way must not meet again."""


class Kind(Enum):
    AWAY = "the server cannot be used by any session"
    READ_ONLY = "the server takes no writes: a standby, or a primary that was demoted"
    ENDED = "the server ended this session for what the session did; others are well"
    STALE = "a statement that this connection kept is gone, or its result has another shape"
    CONFLICT = "another transaction was in the way, and this one was rolled back"
    BUSY = "a lock, memory, disk or time was not there; later it may be"
    FAULT = "the statement or its values: the same again fails again"

    @property
    def is_outage(self) -> bool:
        """Whether no statement can succeed for the time being."""
        return self in (Kind.AWAY, Kind.READ_ONLY)

    @property
    def passes(self) -> bool:
        """Whether the same may succeed when it is tried again later."""
        return self is not Kind.FAULT

    @property
    def at_once(self) -> bool:
        """Whether the same may succeed when it is tried again now, and it is known that nothing was committed."""
        return self in (Kind.ENDED, Kind.STALE, Kind.CONFLICT)


# https://www.postgresql.org/docs/current/errcodes-appendix.html
_STATES: Final = {
    "25006": Kind.READ_ONLY,  # read_only_sql_transaction
    "25P03": Kind.ENDED,  # idle_in_transaction_session_timeout
    "25P04": Kind.ENDED,  # transaction_timeout
    "57P05": Kind.ENDED,  # idle_session_timeout
    "26000": Kind.STALE,  # invalid_sql_statement_name: a prepared statement that is gone
    "42P05": Kind.STALE,  # duplicate_prepared_statement: the session is another than the one that we prepared in
    "40001": Kind.CONFLICT,  # serialization_failure
    "40P01": Kind.CONFLICT,  # deadlock_detected
    "53300": Kind.AWAY,  # too_many_connections
    "55P03": Kind.BUSY,  # lock_not_available
    "55006": Kind.BUSY,  # object_in_use
    "57014": Kind.BUSY,  # query_canceled: statement_timeout, or an operator
}
_CLASSES: Final = {
    "08": Kind.AWAY,  # connection exceptions; a pooler's own, too
    "28": Kind.AWAY,  # invalid authorization, as in the middle of a rotation
    "53": Kind.BUSY,  # insufficient resources: disk, memory
    "57": Kind.AWAY,  # operator intervention: shutdown, crash, start, a dropped database
    "58": Kind.BUSY,  # system errors
}


def kind(error: BaseException) -> Kind:
    """What the error of psycopg or SQLAlchemy means; FAULT for any other."""
    cause = _cause(error)
    if isinstance(cause, psycopg.Error) and (state := cause.sqlstate) is not None:
        # Every other 0A000 is a feature that the server does not have. Told by the server's function, because its text
        # is in the server's language.
        if state == "0A000" and cause.diag.source_function == "RevalidateCachedQuery":
            return Kind.STALE
        return _STATES.get(state) or _CLASSES.get(state[:2], Kind.FAULT)
    match error:
        case PoolTimeoutError():
            return Kind.BUSY
        case PendingRollbackError() | OperationalError() | InterfaceError():
            return Kind.AWAY
        case DBAPIError() if error.connection_invalidated:
            return Kind.AWAY
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return Kind.AWAY
        case _:
            return Kind.FAULT


def sqlstate(error: BaseException) -> str | None:
    """The server's code for what went wrong; None when it is not the server's word."""
    cause = _cause(error)
    return cause.sqlstate if isinstance(cause, psycopg.Error) else None


def reason(error: BaseException) -> str:
    """The error's name for a log: psycopg has one for each SQLSTATE, and none of them shows a value."""
    return type(_cause(error)).__name__


def again(work: Callable[[], T]) -> T:
    """What `work`, one transaction, returns; tried again while another transaction or a lost session is why it failed.

    Raises what its last try raises.
    """
    for number in range(1, TRIES):
        try:
            return work()
        except Exception as error:
            if not kind(error).at_once:
                raise
        time.sleep(_pause(number))
    return work()


async def again_async(work: Callable[[], Awaitable[T]]) -> T:
    """As `again`."""
    for number in range(1, TRIES):
        try:
            return await work()
        except Exception as error:
            if not kind(error).at_once:
                raise
        await asyncio.sleep(_pause(number))
    return await work()


def _cause(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _pause(number: int) -> float:
    return _PAUSE * number * random.random()  # noqa: S311 - spreads the tries, guards nothing
