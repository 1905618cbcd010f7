"""What a worker does beside its jobs: sweep, trim, RQ's maintenance. In a thread, because it may wait."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app.observability.logging import get_logger
from app.queue.sweeper import Sweeper
from app.queue.wakeups import Wakeups
from app.queue.worker.rq_worker import RqWorker

log = get_logger()

_AWAY = (SQLAlchemyError, RedisError, OSError)


class Upkeep:
    """`interval` in seconds, spread by a fifth so that the workers of a deployment do not sweep in step."""

    def __init__(
        self,
        *,
        rq: RqWorker,
        sweeper: Sweeper,
        wakeups: Wakeups,
        stop: threading.Event,
        interval: float,
        keep_finished: int,
        keep_failed: int,
    ) -> None:
        self._rq, self._sweeper, self._wakeups, self._stop = rq, sweeper, wakeups, stop
        self._interval = interval
        self._keep_finished = keep_finished
        self._keep_failed = keep_failed
        self._failing: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            for task, foreseen in ((self._sweeper.sweep, _AWAY), (self._trim, _AWAY), (self._maintain, (Exception,))):
                self._try(task, foreseen)
                if self._stop.is_set():
                    return
            self._stop.wait(self._interval * random.uniform(0.9, 1.1))  # noqa: S311 - spreads load, guards nothing

    def _try(self, task: Callable[[], object], foreseen: tuple[type[Exception], ...]) -> None:
        """An outage must not end the later rounds, and is one line in the log, not one a round. Any other error of ours
        ends the process (app.fail_fast): jobs that no worker sweeps would wait for ever. RQ's maintenance reads what
        others have written."""
        name = task.__name__.strip("_")
        try:
            task()
        except foreseen as error:
            if name not in self._failing:
                log.warning("upkeep fails, trying again until it works", task=name, reason=type(error).__name__)
            self._failing.add(name)
        else:
            if name in self._failing:
                log.info("upkeep works again", task=name)
            self._failing.discard(name)

    def _trim(self) -> None:
        self._wakeups.trim(keep_finished=self._keep_finished, keep_failed=self._keep_failed)

    def _maintain(self) -> None:
        if self._rq.should_run_maintenance_tasks:
            self._rq.run_maintenance_tasks()  # type: ignore[no-untyped-call]
