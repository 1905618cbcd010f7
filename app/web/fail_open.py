"""Counts in Redis that must never keep a request from being answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.exceptions import RedisError

from app.observability.logging import get_logger

_BUDGET_SECONDS = 0.25
_PAUSE_SECONDS = 2.0

T = TypeVar("T")

log = get_logger()


class FailOpen:
    """Asks Redis within a budget. Without an answer `skipped` counts it, and Redis is left alone for a moment."""

    def __init__(self, purpose: str, *, budget: float = _BUDGET_SECONDS, pause: float = _PAUSE_SECONDS) -> None:
        """`purpose` is what the log calls it; `budget` and `pause` are seconds."""
        self.skipped = 0
        self._purpose, self._budget, self._pause = purpose, budget, pause
        self._paused_until = 0.0

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """The answer; None when there is none, which must let the request pass."""
        if time.monotonic() >= self._paused_until:
            try:
                async with asyncio.timeout(self._budget):
                    return await question()
            except (RedisError, OSError, TimeoutError) as error:
                self._paused_until = time.monotonic() + self._pause
                log.warning(f"{self._purpose} skipped", reason=type(error).__name__)
        self.skipped += 1
        return None
