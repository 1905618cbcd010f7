"""A thread or task that ends unexpectedly ends its process.

A process that has lost one of its threads looks well from outside and does half of its work: a worker whose claiming
thread is gone takes jobs and runs none. Nothing is started again within the process, whose state is unknown by
then: its jobs are handed back, it ends with an error, and its supervisor starts another.

One hook for all threads, those of libraries too, so that none can be forgotten.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from app.observability.logging import get_logger

if TYPE_CHECKING:
    import asyncio

EXIT_FAILED: Final = 70
"""A fault in this program (EX_SOFTWARE); to a supervisor or orchestrator a crash like any other."""

log = get_logger()


def install(end: Callable[[], None]) -> None:
    """From now on: what escapes a thread is logged, and `end` is called, in that thread. It may be called several
    times, and must not wait for the end."""

    def failed(what: threading.ExceptHookArgs) -> None:
        try:
            log.critical(
                "a thread ended unexpectedly, the process ends",
                thread=what.thread.name if what.thread else None,
                exc_info=what.exc_value or what.exc_type,
            )
        finally:
            # Also when the log can not be written.
            end()

    threading.excepthook = failed


def watch(task: asyncio.Task[Any]) -> None:
    """Let the task's unexpected end be this process's. Not for one that is awaited."""
    task.add_done_callback(_ended)


def _ended(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a task ended unexpectedly", task=task.get_name())
        threading.excepthook(
            threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread()))
        )
