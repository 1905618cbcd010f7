"""MODE=all: the API in this process, a worker in a child; when either ends by itself, both end, with an error.

The worker is a process of its own, because it takes signals its own way, and because a job must not slow requests.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess

from app.observability import traces
from app.observability.logging import configure, get_logger
from app.settings import Settings

EXIT_CHILD_ENDED = 1

log = get_logger()


def run(settings: Settings, *, started: float | None = None) -> int:
    """Serve and work until a signal; the exit code."""
    from app import composition
    from app.web.server import run as run_api

    worker = multiprocessing.get_context("spawn").Process(target=_work, args=(settings,), name="worker")
    worker.start()
    watch = _Watch(worker)
    code = run_api(composition.api(settings, started=started), on_stop=watch.stop)
    watch.stop_at_end()
    worker.join()
    if watch.ended_by_itself:
        log.error("the worker ended by itself", exit_code=worker.exitcode)
        return EXIT_CHILD_ENDED
    # A worker that had not come up yet dies of the signal; that is an orderly end too.
    return code or (0 if worker.exitcode == -signal.SIGTERM else abs(worker.exitcode or 0))


class _Watch:
    """Passes signals on to the worker, and ends the API when the worker is gone."""

    def __init__(self, worker: SpawnProcess) -> None:
        self._worker = worker
        self._stopping = False
        self.ended_by_itself = False
        threading.Thread(target=self._wait, name="watch-worker", daemon=True).start()

    def stop(self) -> None:
        """Called at every signal: the second one means the same to the worker as to us."""
        self._stopping = True
        if self._worker.is_alive():
            self._worker.terminate()

    def stop_at_end(self) -> None:
        """The API has ended. Without a signal the worker is still running; later signals are passed on."""
        if not self._stopping:
            self.stop()
        for sig in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sig, lambda *_: self.stop())

    def _wait(self) -> None:
        wait([self._worker.sentinel])
        if not self._stopping:
            self.ended_by_itself = True
            os.kill(os.getpid(), signal.SIGTERM)


def _work(settings: Settings) -> None:
    """The child. Ctrl-C at a terminal reaches the whole group; the parent passes on what counts."""
    os.setpgid(0, 0)
    configure(settings, traces.add_span)
    traces.start(settings)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), name="watch-parent", daemon=True).start()
    from app import composition
    from app.queue.worker import run as run_worker

    sys.exit(run_worker(settings, composition.handlers))


def _end_with(sentinel: int) -> None:
    """A parent that was killed cannot pass a signal on: its end is the signal."""
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
