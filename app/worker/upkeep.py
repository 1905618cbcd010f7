"""What a worker does beside its jobs: sweep, trim, RQ's maintenance. In a thread, because it may wait."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from redis import Redis
from rq import Queue

from app.jobs.sweeper import Sweeper
from app.jobs.trim import trim
from app.observability.logging import get_logger
from app.worker.concurrent import ConcurrentWorker

log = get_logger()


class Upkeep:
    """`interval` in seconds, spread by a fifth so that the workers of a deployment do not sweep in step."""

    def __init__(
        self,
        *,
        worker: ConcurrentWorker,
        sweeper: Sweeper,
        client: Redis,
        queue: Queue,
        interval: float,
        keep_finished: int,
        keep_failed: int,
    ) -> None:
        self._worker = worker
        self._sweeper = sweeper
        self._client = client
        self._queue = queue
        self._interval = interval
        self._keep_finished = keep_finished
        self._keep_failed = keep_failed
        self._failing: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        stopping = self._worker.stopping
        while not stopping.is_set():
            for task in (self._sweeper.sweep, self._trim, self._maintain):
                self._try(task)
                if stopping.is_set():
                    return
            stopping.wait(self._interval * random.uniform(0.9, 1.1))  # noqa: S311 - spreads load, guards nothing

    def _try(self, task: Callable[[], object]) -> None:
        """One failed round must not end the later ones; an outage is one line in the log, not one a round."""
        name = task.__name__.strip("_")
        try:
            task()
        except Exception as error:  # noqa: BLE001 - see above
            if name not in self._failing:
                log.warning("upkeep fails, trying again until it works", task=name, reason=type(error).__name__)
            self._failing.add(name)
        else:
            if name in self._failing:
                log.info("upkeep works again", task=name)
            self._failing.discard(name)

    def _trim(self) -> None:
        trim(self._client, self._queue, keep_finished=self._keep_finished, keep_failed=self._keep_failed)

    def _maintain(self) -> None:
        if self._worker.should_run_maintenance_tasks:
            self._worker.run_maintenance_tasks()  # type: ignore[no-untyped-call]
