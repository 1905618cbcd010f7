from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from app.web.batching import Batch, Batcher


async def never_asked() -> None:
    raise AssertionError("nobody's time was over")


class Store:
    """Remembers its batches; each takes until `go` is set."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()

    async def __call__(self, batch: Batch[int, int]) -> list[int]:
        with batch.executing(never_asked) as items:
            self.batches.append(list(items))
            await self.go.wait()
            if -1 in items:
                raise ValueError("one of them")
            if -2 in items:
                raise OSError("all of them")
            return [item * 2 for item in items]


def is_stopped(error: Exception) -> bool:
    return isinstance(error, InterruptedError)


def run(items: Sequence[int], *, max_size: int = 100, concurrency: int = 1) -> tuple[list[object], list[list[int]]]:
    async def main() -> tuple[list[object], list[list[int]]]:
        store = Store()
        batcher = Batcher(
            store, fault_of_one=(ValueError,), was_stopped=is_stopped, max_size=max_size, concurrency=concurrency
        )
        tasks = [asyncio.create_task(batcher.submit(items[0]))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(batcher.submit(item)) for item in items[1:]]
        await asyncio.sleep(0)
        store.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True), store.batches

    return asyncio.run(main())


def test_one_goes_at_once_and_what_comes_meanwhile_goes_together() -> None:
    assert run([1, 2, 3, 4]) == ([2, 4, 6, 8], [[1], [2, 3, 4]])


def test_a_batch_has_its_limit() -> None:
    assert run([1, 2, 3, 4, 5, 6], max_size=2)[1] == [[1], [2, 3], [4, 5], [6]]


def test_the_fault_of_one_is_not_everybodys() -> None:
    results, batches = run([1, 2, -1, 4])
    assert [repr(result) for result in results] == ["2", "4", "ValueError('one of them')", "8"]
    assert batches == [[1], [2, -1, 4], [2], [-1], [4]]


def test_an_outage_is_everybodys_at_once() -> None:
    results, batches = run([1, 2, -2, 4])
    assert [repr(result) for result in results] == ["2", *["OSError('all of them')"] * 3]
    assert len(batches) == 2


@pytest.mark.parametrize("cancelled", [0, 1])
def test_a_caller_that_leaves_changes_nothing_for_the_others(cancelled: int) -> None:
    async def main() -> list[object]:
        store = Store()
        batcher = Batcher(store, fault_of_one=(), was_stopped=is_stopped, concurrency=1)
        tasks = [asyncio.create_task(batcher.submit(item)) for item in (1, 2, 3)]
        await asyncio.sleep(0)
        tasks[cancelled].cancel()
        store.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(main())
    assert isinstance(results[cancelled], asyncio.CancelledError)
    assert [result for n, result in enumerate(results) if n != cancelled] == [
        item * 2 for n, item in enumerate((1, 2, 3)) if n != cancelled
    ]
