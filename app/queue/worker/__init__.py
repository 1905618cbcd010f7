"""MODE=worker: the process that does the jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.queue.handler import MakeHandlers
    from app.settings import Settings

__all__ = ["run"]


def run(settings: Settings, handlers: MakeHandlers) -> int:
    """Do jobs until SIGTERM or SIGINT; the exit code. To be called in the main thread.

    Returns 0 after a signal, 2 when Redis cannot carry the queue, 70 when a job ignored its deadline. A worker that
    had to stop without its jobs hands them back and ends the process itself.
    """
    from app.queue.worker.main import main

    return main(settings, handlers)
