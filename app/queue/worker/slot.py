"""A job on its way through a worker."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Literal, Self

from app.queue.attempts import Started
from app.queue.rq_queue import FUNCTION
from app.queue.worker.books import Popped

Step = Literal["wait", "run", "store", "tell"]

_OVERRUN = 60.0


@dataclass(kw_only=True, eq=False)
class Slot:
    """A job under way in this process. Until its function has returned, it waits for one of the worker's slots or takes
    one; `since` when (monotonic). `started`: of ours, once it is claimed."""

    popped: Popped
    ours: bool
    since: float = field(default_factory=time.monotonic)
    step: Step = "wait"
    started: Started | None = None

    @classmethod
    def of(cls, popped: Popped) -> Self:
        return cls(popped=popped, ours=_is_ours(popped))

    @property
    def overdue(self) -> bool:
        """Whether a job of somebody else's function ignores its own time limit."""
        return (
            self.step == "run"
            and not self.ours
            and time.monotonic() > self.since + self.popped.seconds(b"timeout", 0) + _OVERRUN
        )


def _is_ours(popped: Popped) -> bool:
    if popped.unreadable or popped.call[0] != FUNCTION:
        return False
    try:
        uuid.UUID(popped.call[2][0])
    except (ValueError, IndexError, AttributeError, TypeError):
        return False
    return True
