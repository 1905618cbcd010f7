"""Does what many requests want of the database in one statement, without making any of them wait for others.

The first request's statement is sent at once. What arrives while statements are under way is gathered and sent together
when one of them returns: alone a request is as fast as before, in a crowd each pays a fraction of a round trip, of a
commit and of the driver's work.

A request that was told no must not be stored afterwards. So a caller that is cancelled takes its item back until the
statement goes out; from then on the database is asked to end the statement, and the caller is answered by what comes of
it (docs/decisions/0025).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Generic, TypeVar, cast

from app import fail_fast

T = TypeVar("T")
R = TypeVar("R")

_stopping: set[asyncio.Future[None]] = set()
"""Nobody waits for them, and a loop alone does not keep them alive."""


class OutcomeUnknown(Exception):
    """The caller could wait no longer for an item that was under way: it may have been done, or may be yet."""


class CallerGone(Exception):
    """Nobody is there to be answered; the item was not done."""


class _NotDone(Exception):
    """To a caller that was cancelled: his item was not done, so that his cancellation may go on."""


class _Wish(Generic[T, R]):
    """An item, and whoever waits for its outcome.

    The outcome is kept here and not in the future alone: it may come in the turn in which the future was cancelled and
    the caller has not heard of that yet.
    """

    __slots__ = ("_error", "_is_gone", "_result", "_waiter", "batch", "item", "leaving", "left", "settled")

    def __init__(self, item: T, is_gone: Callable[[], bool] | None) -> None:
        self.item, self._is_gone = item, is_gone
        self.batch: Batch[T, R] | None = None
        """That in which it is under way."""
        self.leaving = self.left = self.settled = False
        """Whether its caller waits for the outcome alone, waits no more, and whether there is one."""
        self._result: R | None = None
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def outcome(self) -> R:
        """May be awaited again after a cancellation."""
        if not self.settled:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            except asyncio.CancelledError:
                if not self.settled:
                    raise
        if self._error is not None:
            raise self._error
        return cast("R", self._result)

    def settle(self, result: R | None = None, error: Exception | None = None) -> None:
        self.settled, self._result, self._error = True, result, error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def is_wanted(self) -> bool:
        """Whether to do it; settles what nobody waits for."""
        if self._is_gone is not None and self._is_gone():
            self.settle(error=CallerGone())
        return not self.settled and not (self._waiter is not None and self._waiter.cancelled())


class Batch(Generic[T, R]):
    """What is done together."""

    def __init__(self, wishes: Sequence[_Wish[T, R]], worker: asyncio.Task[None]) -> None:
        self.wishes = wishes
        self.interrupted = False
        """Whether the work was asked to end early."""
        self.abandoned = False
        """Whether the work was cancelled, because nobody waits for it any more."""
        self._worker = worker
        self._stop: Callable[[], Awaitable[None]] | None = None

    @contextmanager
    def under_way(self, stop: Callable[[], Awaitable[None]]) -> Iterator[Sequence[T]]:
        """The items that are still wanted; within, none can be taken back any more.

        `stop` is called within, at most once, when a caller's time is over. What it returns is awaited beside, maybe
        beyond the end, and handles its own errors.
        """
        self.wishes = [wish for wish in self.wishes if wish.is_wanted()]
        for wish in self.wishes:
            wish.batch = self
        self._stop = stop
        try:
            yield [wish.item for wish in self.wishes]
        finally:
            self._stop = None

    def interrupt(self) -> None:
        if self._stop is not None and not self.interrupted:
            self.interrupted = True
            stopping = asyncio.ensure_future(self._stop())
            _stopping.add(stopping)
            stopping.add_done_callback(_stopping.discard)

    def leave(self) -> None:
        """The last to leave ends the work: requests have a time limit, a statement has none."""
        if all(wish.left for wish in self.wishes):
            self.abandoned = True
            self._worker.cancel()


class Gather(Generic[T, R]):
    """`work` gets up to `most` items and returns a result for each, in their order; `at_once` calls of it at most.

    An error in `fault_of_one` may be due to a single item, so that each is tried on its own; one of which `was_stopped`
    says that it came of `Batch.interrupt` is that of the callers who left; any other is everybody's. The first two must
    mean that nothing was done.
    """

    def __init__(
        self,
        work: Callable[[Batch[T, R]], Awaitable[Sequence[R]]],
        *,
        fault_of_one: tuple[type[Exception], ...],
        was_stopped: Callable[[Exception], bool],
        most: int = 100,
        at_once: int = 2,
    ) -> None:
        self._work, self._fault_of_one, self._was_stopped = work, fault_of_one, was_stopped
        self._most, self._at_once = most, at_once
        self._waiting: dict[_Wish[T, R], None] = {}
        self._workers: set[asyncio.Task[None]] = set()

    async def do(self, item: T, *, is_gone: Callable[[], bool] | None = None) -> R:
        """The item's result; raises what `work` raises, and CallerGone when `is_gone` says so before it is begun.

        A caller that is cancelled is answered by the outcome if his item is under way, and his cancellation goes on if
        it was not done. Cancelled again he waits no longer, which raises OutcomeUnknown.
        """
        wish: _Wish[T, R] = _Wish(item, is_gone)
        self._waiting[wish] = None
        if len(self._workers) < self._at_once:
            worker = asyncio.create_task(self._run())
            fail_fast.watch(worker)
            self._workers.add(worker)
        try:
            return await wish.outcome()
        except asyncio.CancelledError:
            wish.leaving = True
            batch = wish.batch
            if batch is None:
                self._waiting.pop(wish, None)
                raise
            batch.interrupt()
            try:
                return await wish.outcome()
            except _NotDone:
                pass
            except asyncio.CancelledError:
                wish.left = True
                batch.leave()
                raise OutcomeUnknown from None
            raise

    async def _run(self) -> None:
        worker = asyncio.current_task()
        assert worker is not None
        try:
            while self._waiting:
                await self._do_all(self._next(), worker)
        finally:
            # In the step that found nothing: a request that came between it and a later one would start nobody, and
            # wait until the next came.
            self._workers.discard(worker)

    def _next(self) -> list[_Wish[T, R]]:
        batch = list(islice(self._waiting, self._most))
        for wish in batch:
            del self._waiting[wish]
        return batch

    async def _do_all(self, wishes: Sequence[_Wish[T, R]], worker: asyncio.Task[None]) -> None:
        while wishes := [wish for wish in wishes if wish.is_wanted()]:
            batch = Batch(wishes, worker)
            try:
                results = await self._work(batch)
                done = list(zip(batch.wishes, results, strict=True))
            except asyncio.CancelledError:
                if not batch.abandoned:
                    raise
                return
            except Exception as error:  # noqa: BLE001 - it is the callers', who wait for it
                stopped = batch.interrupted and self._was_stopped(error)
                alone = isinstance(error, self._fault_of_one) and len(wishes) > 1
                if not stopped and not alone:
                    for wish in wishes:
                        wish.settle(error=error)
                    return
                _take_back(wishes)
                if alone:
                    for wish in wishes:
                        await self._do_all([wish], worker)
                    return
            else:
                for wish, result in done:
                    wish.settle(result)
                return
            finally:
                if batch.abandoned:
                    worker.uncancel()


def _take_back(wishes: Sequence[_Wish[T, R]]) -> None:
    """Nothing was done: who stays may be tried again, who is leaving may go."""
    for wish in wishes:
        wish.batch = None
        if wish.leaving:
            wish.settle(error=_NotDone())
