"""The deadline that does not wait for a slow clean-up."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.deadline import GRACE, Deadline

pytestmark = pytest.mark.anyio


async def test_what_ends_in_time_is_left_alone() -> None:
    async with Deadline(5.0) as deadline:
        await asyncio.sleep(0)
    assert not deadline.expired


async def test_what_takes_longer_is_cancelled() -> None:
    with pytest.raises(TimeoutError):
        async with Deadline(0.01) as deadline:
            await asyncio.sleep(30)
    assert deadline.expired
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_clean_up_that_hangs_is_cancelled_too() -> None:
    """As psycopg's, which asks a server for help that does not answer any more."""
    ended: list[str] = []

    async def hanging() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                ended.append("dropped")
            raise

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with Deadline(0.01):
            await hanging()
    assert ended == ["dropped"]
    assert GRACE <= time.monotonic() - began < 10


async def test_an_error_within_the_time_is_its_own() -> None:
    with pytest.raises(ZeroDivisionError):
        async with Deadline(5.0):
            _ = 1 / 0


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def waiting() -> None:
        async with Deadline(30.0):
            await asyncio.sleep(30)

    task = asyncio.create_task(waiting())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_deadlines_can_be_nested() -> None:
    async def one_in_another() -> None:
        async with Deadline(0.05):
            with pytest.raises(TimeoutError):
                async with Deadline(0.01):
                    await asyncio.sleep(30)
            reached.append("the rest of the outer one")
            await asyncio.sleep(30)

    reached: list[str] = []
    with pytest.raises(TimeoutError):
        await one_in_another()
    assert reached
