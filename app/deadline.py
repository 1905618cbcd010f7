"""A deadline that also ends the clean-up of what it cancels."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

GRACE: Final = 0.5
"""Seconds for what was cancelled to end in an orderly way."""


class Deadline:
    """`async with Deadline(2.0)`: as `asyncio.timeout`, which cancels once, and again after a moment.

    A database client that is cancelled asks the server to stop the statement, and waits. When the network swallows
    both, psycopg waits for ten seconds, far beyond a health check's or a load balancer's patience; cancelled a second
    time it drops the connection.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._cancelled = 0

    @property
    def expired(self) -> bool:
        return self._cancelled > 0

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._before = task, task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._seconds, self._cancel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        for _ in range(self._cancelled):
            self._task.uncancel()
        # Somebody else's cancellation goes on as one.
        ours = self.expired and self._task.cancelling() <= self._before
        if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error

    def _cancel(self) -> None:
        self._cancelled += 1
        self._task.cancel()
        if self._cancelled == 1:
            self._timer = self._loop.call_later(GRACE, self._cancel)
