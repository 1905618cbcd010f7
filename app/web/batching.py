"""Sends what many requests ask of the database in one statement, without making any of them wait for others.

The first request's statement is sent at once. Items that arrive while statements are running are sent together when one
of them returns: alone a request is as fast as before, in a crowd each pays a fraction of a round trip, of a commit and
of the driver's work.

A request that was answered with an error must not be stored afterwards. So a caller that is cancelled takes its item
back until the statement goes out; from then on the database is asked to cancel the statement, and the caller gets the
outcome (docs/decisions/0025).
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
"""A loop alone does not keep them alive."""


class OutcomeUnknown(Exception):
    """The caller stopped waiting for an item that was being executed: it may have been done, or may be yet."""


class CallerGone(Exception):
    """The client has disconnected; the item was not executed."""


class _NotExecuted(Exception):
    """To a caller that was cancelled: its item was not executed, so that its cancellation may go on."""


class _Entry(Generic[T, R]):
    """An item and the caller that waits for its outcome.

    The outcome is kept here and not in the future alone: it may come in the same turn of the loop in which the future
    was cancelled, before the caller has run.
    """

    __slots__ = ("_error", "_is_gone", "_result", "_waiter", "batch", "cancelled", "gave_up", "item", "settled")

    def __init__(self, item: T, is_gone: Callable[[], bool] | None) -> None:
        self.item, self._is_gone = item, is_gone
        self.batch: Batch[T, R] | None = None
        """The one that executes it."""
        self.cancelled = self.gave_up = self.settled = False
        """Whether its caller was cancelled and waits for the outcome alone, waits no more, and whether there is one."""
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
        """Whether to execute it; settles one whose client has disconnected."""
        if self._is_gone is not None and self._is_gone():
            self.settle(error=CallerGone())
        return not self.settled and not (self._waiter is not None and self._waiter.cancelled())


class Batch(Generic[T, R]):
    """Entries of one statement."""

    def __init__(self, entries: Sequence[_Entry[T, R]], worker: asyncio.Task[None]) -> None:
        self.entries = entries
        self.interrupted = False
        """Whether the statement was asked to end early."""
        self.abandoned = False
        """Whether the worker was cancelled, because no caller waits any more."""
        self._worker = worker
        self._stop: Callable[[], Awaitable[None]] | None = None

    @contextmanager
    def executing(self, stop: Callable[[], Awaitable[None]]) -> Iterator[Sequence[T]]:
        """The items that are still wanted; within the block, none can be taken back.

        `stop` is called within, at most once, when a caller is cancelled. What it returns is awaited in a task of its
        own, maybe beyond the end of the block, and handles its own errors.
        """
        self.entries = [entry for entry in self.entries if entry.is_wanted()]
        for entry in self.entries:
            entry.batch = self
        self._stop = stop
        try:
            yield [entry.item for entry in self.entries]
        finally:
            self._stop = None

    def interrupt(self) -> None:
        if self._stop is not None and not self.interrupted:
            self.interrupted = True
            stopping = asyncio.ensure_future(self._stop())
            _stopping.add(stopping)
            stopping.add_done_callback(_stopping.discard)

    def abandon_if_all_gave_up(self) -> None:
        """Requests have a time limit, a statement has none."""
        if all(entry.gave_up for entry in self.entries):
            self.abandoned = True
            self._worker.cancel()


class Batcher(Generic[T, R]):
    """`execute` gets up to `max_size` items and returns a result for each, in their order; at most `concurrency` calls.

    An error in `fault_of_one` may be due to a single item, so that each is tried on its own; one of which `was_stopped`
    says that it came of `Batch.interrupt` goes to the callers that were cancelled; any other goes to all callers. The
    first two must mean that nothing was stored.
    """

    def __init__(
        self,
        execute: Callable[[Batch[T, R]], Awaitable[Sequence[R]]],
        *,
        fault_of_one: tuple[type[Exception], ...],
        was_stopped: Callable[[Exception], bool],
        max_size: int = 100,
        concurrency: int = 2,
    ) -> None:
        self._execute, self._fault_of_one, self._was_stopped = execute, fault_of_one, was_stopped
        self._max_size, self._concurrency = max_size, concurrency
        self._waiting: dict[_Entry[T, R], None] = {}
        self._workers: set[asyncio.Task[None]] = set()

    async def submit(self, item: T, *, is_gone: Callable[[], bool] | None = None) -> R:
        """The item's result; raises what `execute` raises, and CallerGone when `is_gone` says so before it is begun.

        A caller that is cancelled while its item is executed gets the outcome, and its cancellation goes on if nothing
        was stored. Cancelled again it waits no longer, which raises OutcomeUnknown.
        """
        entry: _Entry[T, R] = _Entry(item, is_gone)
        self._waiting[entry] = None
        if len(self._workers) < self._concurrency:
            worker = asyncio.create_task(self._run())
            fail_fast.watch(worker)
            self._workers.add(worker)
        try:
            return await entry.outcome()
        except asyncio.CancelledError:
            entry.cancelled = True
            batch = entry.batch
            if batch is None:
                self._waiting.pop(entry, None)
                raise
            batch.interrupt()
            try:
                return await entry.outcome()
            except _NotExecuted:
                pass
            except asyncio.CancelledError:
                entry.gave_up = True
                batch.abandon_if_all_gave_up()
                raise OutcomeUnknown from None
            raise

    async def _run(self) -> None:
        worker = asyncio.current_task()
        assert worker is not None
        try:
            while self._waiting:
                entries = list(islice(self._waiting, self._max_size))
                for entry in entries:
                    del self._waiting[entry]
                await self._run_batch(entries, worker)
        finally:
            # In the step that found nothing: a request that came between it and a later one would start no worker, and
            # wait until the next came.
            self._workers.discard(worker)

    async def _run_batch(self, entries: Sequence[_Entry[T, R]], worker: asyncio.Task[None]) -> None:
        while entries := [entry for entry in entries if entry.is_wanted()]:
            batch = Batch(entries, worker)
            try:
                results = await self._execute(batch)
                done = list(zip(batch.entries, results, strict=True))
            except asyncio.CancelledError:
                if not batch.abandoned:
                    raise
                return
            except Exception as error:  # noqa: BLE001 - it is the callers', who wait for it
                stopped = batch.interrupted and self._was_stopped(error)
                split = isinstance(error, self._fault_of_one) and len(entries) > 1
                if not stopped and not split:
                    for entry in entries:
                        entry.settle(error=error)
                    return
                _take_back(entries)
                if split:
                    for entry in entries:
                        await self._run_batch([entry], worker)
                    return
            else:
                for entry, result in done:
                    entry.settle(result)
                return
            finally:
                if batch.abandoned:
                    worker.uncancel()


def _take_back(entries: Sequence[_Entry[T, R]]) -> None:
    """Nothing was stored: an entry may be tried again, unless its caller was cancelled."""
    for entry in entries:
        entry.batch = None
        if entry.cancelled:
            entry.settle(error=_NotExecuted())
