"""What comes between two steps of the batching of requests: everything happens in every turn of the loop once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from app.web.batching import Batch, Batcher, CallerGone, OutcomeUnknown

TURNS = range(40)
"""More than anything here takes."""


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Stopped(Exception):
    pass


class Refused(Exception):
    pass


class Database:
    """Keeps what was committed. Each step towards that and back takes some turns of the loop.

    A statement with a `blocked` item ends only when it is asked to, unless the request to end it is lost.
    """

    def __init__(self, *, blocked: int | None = None, deaf: bool = False) -> None:
        self.stored: list[int] = []
        self.statements: list[list[int]] = []
        self.refused: set[int] = set()
        self._blocked, self._deaf = blocked, deaf

    async def __call__(self, batch: Batch[int, int]) -> list[int]:
        asked = asyncio.Event()
        has_ended = False

        def stop() -> Coroutine[Any, Any, None]:
            assert not has_ended, "the connection may be at somebody else's statement"
            return arrive()

        async def arrive() -> None:
            await turns(2)
            if not self._deaf:
                asked.set()

        await turns(3)  # a connection is taken from the pool
        try:
            with batch.executing(stop) as items:
                self.statements.append(list(items))
                for _ in range(4):
                    await asyncio.sleep(0)
                    if asked.is_set():
                        raise Stopped
                if self._blocked in items:
                    await asyncio.Event().wait() if self._deaf else await asked.wait()
                    raise Stopped
                if self.refused.intersection(items):
                    raise Refused
                self.stored += items
                await turns(3)  # the answer is on its way
        finally:
            has_ended = True
            await turns(3)  # the connection is given back
        return [item * 2 for item in items]

    def batcher(self, *, concurrency: int = 1) -> Batcher[int, int]:
        return Batcher(
            self, fault_of_one=(Refused,), was_stopped=lambda e: isinstance(e, Stopped), concurrency=concurrency
        )


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Whatever waits for something that nobody does is found in the turn in which all is done, and not by a clock."""

    async def bounded() -> Any:
        task = asyncio.create_task(main)
        for _ in range(500):
            if task.done():
                return task.result()
            await asyncio.sleep(0)
        task.cancel()
        raise AssertionError("somebody hangs")

    return asyncio.run(bounded())


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("turn", TURNS)
def test_a_request_is_done_in_whatever_turn_it_comes(turn: int, concurrency: int) -> None:
    """One came when the last worker had found nothing and was not yet known to be gone, and waited for the next."""

    async def main() -> list[int]:
        database = Database()
        batcher = database.batcher(concurrency=concurrency)
        tasks = [asyncio.create_task(batcher.submit(item)) for item in range(concurrency)]
        await turns(turn)
        tasks.append(asyncio.create_task(batcher.submit(9)))
        await asyncio.gather(*tasks)
        return database.stored

    assert sorted(run(main())) == [*range(concurrency), 9]


def check(database: Database, results: list[Any], *, cancelled: int = 0) -> None:
    """Who was told yes is stored once, who was told no is not; of the cancelled one alone it may be unknown."""
    for item, result in enumerate(results):
        if isinstance(result, int):
            assert (result, database.stored.count(item)) == (item * 2, 1)
        else:
            assert item == cancelled
            if isinstance(result, OutcomeUnknown):
                assert database.stored.count(item) <= 1
            else:
                assert isinstance(result, asyncio.CancelledError)
                assert item not in database.stored


@pytest.mark.parametrize("others", [0, 2])
@pytest.mark.parametrize("blocked", [None, 0])
@pytest.mark.parametrize("after", TURNS)
def test_what_was_refused_is_not_stored(after: int, blocked: int | None, others: int) -> None:
    """Its time over before it was sent, or anywhere between that and the answer. Before, it was stored all the same."""

    async def main() -> None:
        database = Database(blocked=blocked)
        batcher = database.batcher()
        tasks = [asyncio.create_task(batcher.submit(item)) for item in range(others + 1)]
        await turns(after)
        tasks[0].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)

        check(database, results)
        assert not any(isinstance(result, OutcomeUnknown) for result in results)
        assert await batcher.submit(7) == 14

    run(main())


@pytest.mark.parametrize(("blocked", "deaf"), [(None, False), (0, False), (0, True)])
@pytest.mark.parametrize("again", range(1, 12))
@pytest.mark.parametrize("after", range(24))
def test_cut_off_for_good_the_outcome_may_be_unknown_and_nobody_else_waits_for_it(
    after: int, again: int, blocked: int | None, deaf: bool
) -> None:
    """A statement that nobody bounds would keep its worker, and two of them the whole acceptance."""

    async def main() -> None:
        database = Database(blocked=blocked, deaf=deaf)
        batcher = database.batcher()
        task = asyncio.create_task(batcher.submit(0))
        await turns(4)
        others = [asyncio.create_task(batcher.submit(item)) for item in (7, 8)]
        await turns(after)
        task.cancel()
        await turns(again)
        task.cancel()
        check(database, await asyncio.gather(task, return_exceptions=True))
        assert await asyncio.gather(*others) == [14, 16]

    run(main())


def test_whose_time_is_over_goes_alone_and_the_others_are_tried_again() -> None:
    async def main() -> None:
        database = Database(blocked=1)
        batcher = database.batcher()
        tasks = [asyncio.create_task(batcher.submit(item)) for item in range(3)]
        await turns(20)
        tasks[0].cancel()
        await turns(40)
        assert [task.done() for task in tasks] == [True, False, False]
        tasks[1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)

        assert [type(result) for result in results] == [asyncio.CancelledError, asyncio.CancelledError, int]
        assert database.stored == [2]
        assert database.statements == [[0, 1, 2], [1, 2], [2]]

    run(main())


@pytest.mark.parametrize("after", TURNS)
def test_a_refused_item_and_one_whose_time_is_over_harm_nobody_else(after: int) -> None:
    async def main() -> None:
        database = Database()
        database.refused = {1}
        batcher = database.batcher()
        tasks = [asyncio.create_task(batcher.submit(item)) for item in range(4)]
        await turns(after)
        tasks[0].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)

        assert isinstance(results.pop(1), Refused)
        assert 1 not in database.stored
        assert [*results[1:]] == [4, 6]
        assert sorted(database.stored) == ([2, 3] if isinstance(results[0], asyncio.CancelledError) else [0, 2, 3])

    run(main())


@pytest.mark.parametrize("turn", TURNS)
def test_a_caller_whose_connection_is_closed_is_told_so_or_is_done(turn: int) -> None:
    async def main() -> None:
        database = Database()
        batcher = database.batcher()
        gone = False
        tasks = [asyncio.create_task(batcher.submit(0)), asyncio.create_task(batcher.submit(1, is_gone=lambda: gone))]
        await turns(turn)
        gone = True
        results = await asyncio.gather(*tasks, return_exceptions=True)

        assert results[0] == 0
        assert isinstance(results[1], CallerGone) == (1 not in database.stored)

    run(main())


def test_work_that_answers_for_too_few_leaves_nobody_waiting() -> None:
    async def forgetful(batch: Batch[int, int]) -> list[int]:
        return []

    async def main() -> None:
        batcher = Batcher[int, int](forgetful, fault_of_one=(), was_stopped=lambda _: False)
        with pytest.raises(ValueError, match="zip"):
            await batcher.submit(1)

    run(main())
