"""Does what many requests want of the database in one statement, without making any of them wait for others.

The first request's statement is sent at once. What arrives while statements are under way is gathered and sent together
when one of them returns: alone a request is as fast as before, in a crowd each pays a fraction of a round trip, of a
commit and of the driver's work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Gather(Generic[T, R]):
    """`work` gets up to `most` items and returns a result for each, in their order; `at_once` calls of it at most.

    An error in `fault_of_one` may be due to a single item, so that each is tried on its own; any other is everybody's.
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        fault_of_one: tuple[type[Exception], ...],
        most: int = 100,
        at_once: int = 2,
    ) -> None:
        self._work, self._fault_of_one = work, fault_of_one
        self._most, self._at_once = most, at_once
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._workers: set[asyncio.Task[None]] = set()

    async def do(self, item: T) -> R:
        """The item's result; raises what `work` raises.

        A caller that is cancelled waits no more; the work is done all the same.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._workers) < self._at_once:
            worker = asyncio.create_task(self._run())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return await future

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            await self._try(batch)

    async def _try(self, batch: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._work([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - it is the callers', who wait for it
            if len(batch) > 1 and isinstance(error, self._fault_of_one):
                for one in batch:
                    await self._try([one])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
