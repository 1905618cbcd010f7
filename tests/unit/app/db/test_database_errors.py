"""What an error of the database is, by its SQLSTATE."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import psycopg
import pytest
from psycopg import errors as states
from sqlalchemy.exc import DBAPIError, IntegrityError, InternalError, PendingRollbackError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.db import errors
from app.db.errors import TRIES, Kind
from app.web.problems import translate

KINDS = {
    "25006": Kind.READ_ONLY,
    "25P03": Kind.ENDED,
    "25P04": Kind.ENDED,
    "57P05": Kind.ENDED,
    "26000": Kind.STALE,
    "42P05": Kind.STALE,
    "40001": Kind.CONFLICT,
    "40P01": Kind.CONFLICT,
    "08000": Kind.AWAY,
    "08003": Kind.AWAY,
    "08006": Kind.AWAY,
    "28P01": Kind.AWAY,
    "53300": Kind.AWAY,
    "57P01": Kind.AWAY,
    "57P02": Kind.AWAY,
    "57P03": Kind.AWAY,
    "57P04": Kind.AWAY,
    "53100": Kind.BUSY,
    "53200": Kind.BUSY,
    "55P03": Kind.BUSY,
    "57014": Kind.BUSY,
    "58030": Kind.BUSY,
    # Of these psycopg says OperationalError, as of a server that is away.
    "54000": Kind.FAULT,
    "54001": Kind.FAULT,
    # And of this InternalError, as of one that became read-only.
    "25P02": Kind.FAULT,
    "0A000": Kind.FAULT,
    "22P05": Kind.FAULT,
    "23503": Kind.FAULT,
    "42P01": Kind.FAULT,
    "XX000": Kind.FAULT,
}


def of_state(state: str) -> psycopg.Error:
    try:
        return states.lookup(state)("")
    except KeyError:
        error = psycopg.OperationalError("")
        error.sqlstate = state
        return error


def wrapped(error: Exception, *, invalidated: bool = False) -> DBAPIError:
    return DBAPIError.instance(  # type: ignore[return-value]
        "SELECT 1", {}, error, psycopg.Error, connection_invalidated=invalidated, dialect=Dialect()
    )


class Dialect:
    dbapi_exception_translation_map: ClassVar[dict[str, str]] = {}


@pytest.mark.parametrize(("state", "kind"), KINDS.items())
def test_by_its_state_whatever_wraps_it(state: str, kind: Kind) -> None:
    assert errors.kind(of_state(state)) is kind
    # A pool that gave the connection up does not change what the error is.
    assert {errors.kind(wrapped(of_state(state), invalidated=broken)) for broken in (False, True)} == {kind}


def test_without_a_state_it_is_what_the_client_says() -> None:
    assert errors.kind(psycopg.OperationalError("server closed the connection unexpectedly")) is Kind.AWAY
    assert errors.kind(psycopg.InterfaceError("the connection is closed")) is Kind.AWAY
    assert errors.kind(wrapped(psycopg.OperationalError("connection refused"))) is Kind.AWAY
    assert errors.kind(PendingRollbackError()) is Kind.AWAY
    assert errors.kind(PoolTimeoutError()) is Kind.BUSY


@pytest.mark.parametrize(
    "error",
    [
        psycopg.DataError("text fields cannot contain NUL"),
        # A value that cannot be written: no server was asked.
        StatementError("", "", {}, TypeError("not JSON")),
        ValueError("anything else"),
        OSError("no file"),
    ],
)
def test_a_value_that_cannot_be_sent_is_no_outage(error: Exception) -> None:
    assert errors.kind(error) is Kind.FAULT


def test_what_the_kinds_ask_for() -> None:
    assert [kind for kind in Kind if kind.is_outage] == [Kind.AWAY, Kind.READ_ONLY]
    assert [kind for kind in Kind if kind.at_once] == [Kind.ENDED, Kind.STALE, Kind.CONFLICT]
    assert [kind for kind in Kind if not kind.passes] == [Kind.FAULT]


@pytest.mark.parametrize(("state", "kind"), KINDS.items())
def test_what_a_caller_is_answered(state: str, kind: Kind) -> None:
    answer = translate(wrapped(of_state(state)))
    if kind is Kind.FAULT:
        assert answer.status == 500
    else:
        assert (answer.status, answer.headers) == (503, {"Retry-After": "2"})


def test_a_log_names_the_state_and_no_value() -> None:
    assert errors.reason(wrapped(of_state("25006"))) == "ReadOnlySqlTransaction"
    assert isinstance(wrapped(of_state("25006")), InternalError)
    assert isinstance(wrapped(of_state("23505")), IntegrityError)


class Work:
    """Fails with these errors, one after another, then returns."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"

    async def later(self) -> str:
        return self()


@pytest.mark.parametrize("wait", [False, True], ids=["in a thread", "in a loop"])
def test_a_deadlock_is_tried_again_with_a_bound(wait: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_PAUSE", 0.0)

    def run(work: Work) -> str:
        return asyncio.run(errors.again_async(work.later)) if wait else errors.again(work)

    deadlock = wrapped(of_state("40P01"))
    passing = Work(*[deadlock] * (TRIES - 1))
    assert (run(passing), passing.calls) == ("done", TRIES)
    lasting = Work(*[deadlock] * TRIES)
    with pytest.raises(DBAPIError):
        run(lasting)
    assert lasting.calls == TRIES
    for state in ("25006", "08006", "57014", "23503"):
        other = Work(wrapped(of_state(state)))
        with pytest.raises(DBAPIError):
            run(other)
        assert other.calls == 1
