"""An RQ worker that runs several jobs at once in one process.

The jobs wait on the network, so threads do; a forked process per slot would cost a container ten times the memory. RQ's
keys stay what RQ's tools expect: the worker is registered with its heartbeat and counts, every running job has its
execution and its entry in the started registry, ended ones are in the finished, failed or scheduled registry.

What differs from RQ's own workers, and why:
- Jobs are popped, registered, claimed, stored and told in batches (app.queue.worker.books, app.queue.worker.pipeline).
- Signals only set a flag. RQ raises from the handler, which can strike between the pop and the registration of a job,
  or inside a transaction.
- The loop outlives Redis: RQ's quits on an error that it does not know.
- A thread cannot be killed. Jobs keep their own deadline; one that overruns it by a minute ends the whole worker, whose
  other jobs finish first, and which counts the attempt.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from redis import Redis, RedisError
from rq import Queue, worker_registration
from rq.executions import Execution
from rq.job import Job
from rq.suspension import is_suspended
from rq.worker import WorkerStatus
from sqlalchemy.exc import SQLAlchemyError

from app.fail_fast import EXIT_FAILED
from app.observability.logging import get_logger
from app.queue.rq_queue import ABANDONED_AFTER, HEARTBEAT_INTERVAL
from app.queue.runtime import Runtime
from app.queue.worker.adapted import WORKER_TTL, AdaptedWorker
from app.queue.worker.books import Books, Popped, Told
from app.queue.worker.database import DatabaseGate
from app.queue.worker.health import HeartbeatFile, Pulse
from app.queue.worker.pipeline import Pipeline
from app.queue.worker.scheduled import Scheduled
from app.queue.worker.signals import Shutdown

log = get_logger()

_POLL = 0.5
"""Longest wait for a job, and so the longest until a signal is noticed."""
_OVERRUN_CHECK = 1.0
_STANDSTILL = 60.0
"""Seconds beyond the longest lease that a step may take over the same jobs until this worker counts as unwell."""

EXIT_OK = 0
EXIT_STUCK = 70


class ConcurrentWorker(AdaptedWorker):
    """`serve` until a signal. `queue` carries the patient connection, `quick` is the loop's own."""

    def __init__(
        self,
        queue: Queue,
        *,
        name: str,
        quick: Redis,
        concurrency: int,
        gate: DatabaseGate,
        heartbeat_file: HeartbeatFile,
        shutdown: Shutdown,
        runtime: Runtime,
        stop_timeout: float,
    ) -> None:
        """`runtime` is the one that the jobs run in. `stop_timeout`: seconds from a signal to the end
        of those under way. Talks to Redis."""
        super().__init__(queue, name=name, shutdown=shutdown)
        self._queue = queue
        self._quick = quick
        self._gate = gate
        self._file = heartbeat_file
        self._runtime = runtime
        self._stop_timeout = stop_timeout
        self._scheduled = Scheduled(quick, queue, interval=_POLL)
        books = {"worker": name, "worker_key": self.key, "abandoned_after": ABANDONED_AFTER}
        self._taking = Books(quick, queue, **books)
        self._pipeline = Pipeline(
            runtime=runtime, books=Books(queue.connection, queue, **books), rq=self, gate=gate, concurrency=concurrency
        )
        limit = runtime.longest_lease + _STANDSTILL
        self._pulse = Pulse(heartbeat_file, busy_since=self._pipeline.busy_since, limit=limit)
        self._next_heartbeat = 0.0
        self._next_suspension_check = 0.0
        self._next_overrun_check = 0.0
        self._redis_failures = 0
        self._exit_code = EXIT_OK

    # -- the loop

    def serve(self) -> int:
        """Run jobs until a signal or a failure; the exit code. Afterwards `unfinished` says what is still running."""
        self.bootstrap(logging_level=None)
        log.info("worker started", worker=self.name, queue=self._queue.name)
        try:
            while not self._stop.is_set():
                self._beat()
                self._check_overruns()
                try:
                    self._turn()
                    self._redis_answered()
                except (RedisError, OSError) as error:
                    self._wait_for_redis(error)
            self._drain()
        except Exception:
            # The loop is a thread like the others, but nobody else would hand back.
            log.critical("the loop ended unexpectedly, the process ends", exc_info=True)
            self._shutdown_flags.fail()
        finally:
            if self._shutdown_flags.failed.is_set():
                self._exit_code = EXIT_FAILED
            self._leave()
        return self._exit_code

    @property
    def unfinished(self) -> int:
        """Jobs of which RQ has not been told the end yet."""
        return len(self._pipeline.under_way)

    def hand_back(self) -> None:
        """Let another worker have the jobs under way now, rather than when their leases end."""
        self._runtime.hand_back(suspects=self._pipeline.suspects)
        # Whether one is to run again is the claim's to say.
        known = {slot.popped.execution_id: slot.popped for slot in self._pipeline.slots()}
        self._give_back([*known.values(), *self._taking.taken_beside(known)])

    @property
    def stopping(self) -> threading.Event:
        return self._stop

    def _turn(self) -> None:
        """Take as many jobs as there are slots free, if there is a database to claim them from."""
        self._send_heartbeats()
        if not self._gate.is_open():
            self._stop.wait(0.1)
            return
        # The first one too: what follows may wait for a job.
        self._beat()
        if self._suspended():
            return
        wait = self._scheduled.promote()
        free = self._pipeline.free(timeout=_POLL)
        if not free:
            return
        taken = self._taking.take(free)
        if self._stop.is_set():
            self._give_back(taken)
            return
        if taken:
            self._pipeline.put(taken)
            self._show(WorkerStatus.BUSY)
        if len(taken) < free:
            # There are no more.
            self._wait_for_a_job(timeout=max(0.01, min(wait, _POLL)))

    def _beat(self) -> None:
        if self._gate.was_open:
            # Not before: a worker with a wrong password is to fail its deployment, not to look well.
            self._pulse.beat(waiting=self._redis_failures > 0 or not self._gate.was_usable)

    def _give_back(self, jobs: Sequence[Popped]) -> None:
        if jobs:
            self._taking.tell([Told(popped=popped, fate="queued") for popped in jobs])

    def _suspended(self) -> bool:
        """Whether `rq suspend` holds all workers; waits a little if so."""
        if time.monotonic() < self._next_suspension_check:
            return False
        if is_suspended(self._quick, self):
            self._stop.wait(_POLL)
            return True
        self._next_suspension_check = time.monotonic() + _POLL
        return False

    def _wait_for_a_job(self, *, timeout: float) -> None:
        # From the front of the queue to the front of the queue: it waits for an entry, and moves none.
        entry = self._quick.blmove(self._queue.key, self._queue.key, cast("int", timeout), "LEFT", "LEFT")
        if entry is None and not self._pipeline.under_way:
            # Not between two jobs that follow each other closely: that cost each of them two round trips.
            self._show(WorkerStatus.IDLE)

    def _show(self, state: WorkerStatus) -> None:
        if self.get_state() != state:
            self.set_state(state, pipeline=cast("Any", self._quick))

    def _wait_for_redis(self, error: Exception) -> None:
        self._redis_failures += 1
        if self._redis_failures == 1:
            log.warning("waiting for Redis", reason=type(error).__name__)
        self._state = ""
        self._next_heartbeat = 0.0
        self._stop.wait(min(3.0, 0.1 * 2 ** min(self._redis_failures, 5)))

    def _redis_answered(self) -> None:
        if self._redis_failures:
            log.info("Redis is back")
            self._redis_failures = 0

    # -- jobs that need more of RQ than the pipeline does itself

    def perform(self, popped: Popped) -> None:
        """Callbacks, repeats, rate limits: all of it RQ's own way."""
        self.perform_job(popped.job, self._queue, self._execution(popped))

    def finish(self, popped: Popped, value: Any) -> None:
        self._began(popped)
        self._finalize_success(popped.job, self._queue, self._execution(popped), value)

    def fail(self, popped: Popped, exc_info: Any) -> None:
        self._began(popped)
        self._finalize_failure(popped.job, self._queue, self._execution(popped), exc_info)

    def expect(self, due: float) -> None:
        self._scheduled.expect(due)

    def release_dependents(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            try:
                job = Job.fetch(job_id, connection=self.connection, serializer=self.serializer)
                self._queue.enqueue_dependents(job)
            except (RedisError, OSError):
                raise
            except Exception:  # data of somebody else's jobs, which RQ reads here
                log.exception("what depends on a job was not released", job_id=job_id)

    def _began(self, popped: Popped) -> None:
        popped.job.started_at = datetime.fromtimestamp(popped.at, UTC)
        popped.job.redis_server_version = self.get_redis_server_version()  # type: ignore[no-untyped-call]

    def _execution(self, popped: Popped) -> Execution:
        return Execution(popped.execution_id, popped.job_id, self.connection, worker_name=self.name)

    # -- heartbeats

    def _send_heartbeats(self) -> None:
        """Tell Redis that this worker and its jobs are alive, and who it is, in case Redis forgot."""
        if time.monotonic() < self._next_heartbeat or self.birth_date is None:
            return
        slots = self._pipeline.slots()
        with self._quick.pipeline() as pipeline:
            self.heartbeat(WORKER_TTL + 60, pipeline=pipeline)
            pipeline.hset(self.key, mapping=self.serialize())
            pipeline.hset(self.key, "state", WorkerStatus.BUSY if slots else WorkerStatus.IDLE)
            worker_registration.register(self, pipeline)
            for slot in slots:
                self._execution(slot.popped).heartbeat(self._queue.started_job_registry, ABANDONED_AFTER, pipeline)
            pipeline.execute()
        self._reclaim()
        self._next_heartbeat = time.monotonic() + HEARTBEAT_INTERVAL

    def _reclaim(self) -> None:
        """Put back what Redis believes to be under way here and is not: the answer to a pop was lost with its
        connection, or Redis was away when a job ended. In the loop's own thread, so that no pop can be half way."""
        # Noted before Redis is asked: one that ends in between is in the note, or no longer in Redis. The other way
        # round, those that had just ended looked like strays, and ran again.
        known = {slot.popped.execution_id for slot in self._pipeline.slots()}
        strays = self._taking.taken_beside(known)
        if strays:
            log.warning("jobs that are not under way here go back", job_ids=[popped.job_id for popped in strays])
            self._give_back(strays)

    def _check_overruns(self) -> None:
        if time.monotonic() < self._next_overrun_check:
            return
        self._next_overrun_check = time.monotonic() + _OVERRUN_CHECK
        self._pipeline.hand_on()
        if self._gate.was_usable:
            try:
                self._runtime.recover()
            except SQLAlchemyError as error:
                log.warning("claims without an answer not looked up yet", reason=type(error).__name__)
        if stuck := [*self._runtime.stuck(), *self._pipeline.overdue()]:
            log.critical("jobs ignore their deadline, the worker ends to be rid of them", job_ids=stuck)
            self._exit_code = EXIT_STUCK
            self._stop.set()

    # -- the end

    def _drain(self) -> None:
        """Wait for the jobs under way, with heartbeats, for as long as the stop allows; who stays is handed back."""
        log.info("worker stopping", worker=self.name, jobs=self.unfinished)
        end = time.monotonic() + self._stop_timeout
        while self.unfinished and time.monotonic() < end and not self._shutdown_flags.forced.wait(0.05):
            if self._pipeline.broken:
                log.error("some jobs cannot be finished here, all go back", jobs=self.unfinished)
                break
            self._beat()
            self._check_overruns()
            try:
                self._send_heartbeats()
                self._redis_answered()
            except (RedisError, OSError) as error:
                self._wait_for_redis(error)
            if self._redis_failures and not self._runtime.held:
                # Every effect is stored; what is left is to tell Redis, which is away and will find out.
                break

    def _leave(self) -> None:
        self._file.remove()
        try:
            self._quick.ping()
            self.teardown()  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 - its jobs are to be handed back all the same
            log.warning("left without telling Redis", worker=self.name, reason=type(error).__name__)
