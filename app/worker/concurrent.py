"""An RQ worker that runs several jobs at once in one process.

The jobs wait on the network, so threads do; a forked process per slot would cost a container ten times the memory. RQ's
keys stay what RQ's tools expect: the worker is registered with its heartbeat and counts, every running job has its
execution and its entry in the started registry, ended ones are in the finished, failed or scheduled registry.

What differs from RQ's own workers, and why:
- Signals only set a flag. RQ raises from the handler, which can strike between the pop and the registration of a job,
  or inside a transaction.
- The loop outlives Redis: RQ's quits on an error that it does not know.
- A thread cannot be killed. Jobs keep their own deadline; one that overruns it by a minute ends the whole worker, whose
  other jobs finish first, and the lease brings the stuck one back elsewhere.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis, RedisError
from rq import Queue, worker_registration
from rq.executions import Execution
from rq.job import Job
from rq.suspension import is_suspended
from rq.worker import WorkerStatus

from app.jobs.execute import JobDeadError, JobNotStartedError, JobNotStoredError, RetryAt, Runtime
from app.observability.logging import get_logger
from app.worker.adapted import MONITORING_INTERVAL, WORKER_TTL, AdaptedWorker
from app.worker.database import DatabaseGate
from app.worker.health import HeartbeatFile
from app.worker.scheduled import Scheduled
from app.worker.signals import Shutdown

log = get_logger()

_POLL = 0.5
"""Longest time in one blocking pop, and so the longest until a signal is noticed."""

EXIT_OK = 0
EXIT_STUCK = 70


@dataclass
class _Slot:
    """A job under way in this process."""

    job_id: str
    job: Job | None = None
    execution: Execution | None = None


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
        """`runtime` is the one that the jobs run in. `stop_timeout` in seconds. Talks to Redis."""
        super().__init__(queue, name=name, shutdown=shutdown)
        self._queue = queue
        self._quick = quick
        self._gate = gate
        self._file = heartbeat_file
        self._runtime = runtime
        self._stop_timeout = stop_timeout
        self._scheduled = Scheduled(quick, queue, interval=_POLL)
        self._slots = threading.BoundedSemaphore(concurrency)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="job")
        self._under_way: dict[int, _Slot] = {}
        self._next_heartbeat = 0.0
        self._next_suspension_check = 0.0
        self._redis_failures = 0
        self._exit_code = EXIT_OK

    # -- the loop

    def serve(self) -> int:
        """Run jobs until a signal; the exit code. Afterwards `unfinished` says what is still running."""
        self.bootstrap(logging_level=None)
        log.info("worker started", worker=self.name, queue=self._queue.name)
        try:
            while not self._stop.is_set():
                if self._gate.was_open:
                    # Not before: a worker with a wrong password is to fail its deployment, not to look well.
                    self._file.beat()
                self._check_overruns()
                try:
                    self._turn()
                    self._redis_answered()
                except (RedisError, OSError) as error:
                    self._wait_for_redis(error)
            self._drain()
        finally:
            self._leave()
        return self._exit_code

    @property
    def unfinished(self) -> int:
        return len(self._under_way)

    @property
    def stopping(self) -> threading.Event:
        return self._stop

    def _turn(self) -> None:
        """Take one job if there is one, a free slot for it, and a database to claim it from."""
        self._send_heartbeats()
        if not self._gate.is_open():
            self._stop.wait(0.1)
            return
        if self._suspended():
            return
        wait = self._scheduled.promote()
        if not self._slots.acquire(timeout=_POLL):
            return
        taken = False
        try:
            job_id = self._pop(timeout=max(0.01, min(wait, _POLL)))
            if job_id is not None and self._stop.is_set():
                self._give_back(job_id)
            elif job_id is not None:
                self._pool.submit(self._work_on, job_id)
                taken = True
        finally:
            if not taken:
                self._slots.release()

    def _suspended(self) -> bool:
        """Whether `rq suspend` holds all workers; waits a little if so."""
        if time.monotonic() < self._next_suspension_check:
            return False
        if is_suspended(self._quick, self):
            self._stop.wait(_POLL)
            return True
        self._next_suspension_check = time.monotonic() + _POLL
        return False

    def _pop(self, *, timeout: float) -> str | None:
        """The next id, moved to the intermediate list, from where RQ's maintenance recovers it if we die now."""
        if not self._under_way and self.get_state() != WorkerStatus.IDLE:
            self.set_state(WorkerStatus.IDLE, pipeline=cast("Any", self._quick))
        popped = self._quick.blmove(self._queue.key, self._queue.intermediate_queue_key, cast("int", timeout))
        return None if popped is None else cast("bytes", popped).decode()

    def _give_back(self, job_id: str) -> None:
        with self._quick.pipeline() as pipeline:
            pipeline.lrem(self._queue.intermediate_queue_key, 1, job_id)
            pipeline.lpush(self._queue.key, job_id)
            pipeline.execute()

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

    # -- one job, in a thread

    def _work_on(self, job_id: str) -> None:
        slot = _Slot(job_id=job_id)
        self._under_way[id(slot)] = slot
        try:
            self._execute(slot)
        except (RedisError, OSError) as error:
            # Its effect is in Postgres. RQ's registries catch up when the entry expires and the job is popped again.
            log.warning("job's end not told to Redis", job_id=job_id, reason=type(error).__name__)
        except Exception:  # the slot must come back whatever RQ raised
            log.exception("RQ failed around a job", job_id=job_id)
        finally:
            if slot.execution is not None:
                self.executions.pop(slot.execution.id, None)
            del self._under_way[id(slot)]
            self._slots.release()

    def _execute(self, slot: _Slot) -> None:
        fetched = self.queue_class._fetch_dequeued_job(
            self.connection, self._queue.key, slot.job_id, job_class=self.job_class, serializer=self.serializer
        )
        if fetched is None:
            # Its data expired or was removed; if the row is still open, the sweeper puts the job on the queue anew.
            self.connection.lrem(self._queue.intermediate_queue_key, 1, slot.job_id)
            return
        slot.job, queue = fetched
        slot.job.redis_server_version = self.get_redis_server_version()  # type: ignore[no-untyped-call]
        slot.execution = self.prepare_execution(slot.job)
        self.perform_job(slot.job, queue, slot.execution)

    def handle_job_retry(self, job: Job, queue: Queue, retry: Any, started_job_registry: Any, execution: Any) -> None:
        """RQ schedules in whole seconds; set the exact time beside it."""
        super().handle_job_retry(job, queue, retry, started_job_registry, execution)
        if isinstance(retry, RetryAt):
            due = time.time() + retry.seconds
            self.connection.zadd(queue.scheduled_job_registry.key, {job.id: due}, xx=True)
            self._scheduled.expect(due)

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Our own ways to end are told in a line; RQ's report with its traceback is for the unexpected."""
        error = exc_info[1]
        if isinstance(error, JobNotStartedError | JobNotStoredError):
            self._gate.close()
            log.warning("job goes back, the database is away", job_id=job.id, reason=str(error))
        elif not isinstance(error, JobDeadError):
            super().handle_exception(job, *exc_info)

    # -- heartbeats

    def _send_heartbeats(self) -> None:
        """Tell Redis that this worker and its jobs are alive, and who it is, in case Redis forgot."""
        if time.monotonic() < self._next_heartbeat or self.birth_date is None:
            return
        ttl = MONITORING_INTERVAL + 60
        with self._quick.pipeline() as pipeline:
            self.heartbeat(WORKER_TTL + 60, pipeline=pipeline)
            pipeline.hset(self.key, mapping=self.serialize())
            pipeline.hset(self.key, "state", WorkerStatus.BUSY if self._under_way else WorkerStatus.IDLE)
            worker_registration.register(self, pipeline)
            for slot in list(self._under_way.values()):
                if slot.job is not None and slot.execution is not None and slot.execution.id in self.executions:
                    slot.execution.heartbeat(slot.job.started_job_registry, ttl, pipeline=pipeline)
            pipeline.execute()
        self._next_heartbeat = time.monotonic() + MONITORING_INTERVAL

    def _check_overruns(self) -> None:
        if stuck := self._runtime.stuck():
            log.critical("jobs ignore their deadline, the worker ends to be rid of them", job_ids=stuck)
            self._exit_code = EXIT_STUCK
            self._stop.set()

    # -- the end

    def _drain(self) -> None:
        """Wait for the jobs under way, with heartbeats, for as long as the longest job may take."""
        log.info("worker stopping", worker=self.name, jobs=self.unfinished)
        end = time.monotonic() + self._stop_timeout
        while self._under_way and time.monotonic() < end and not self._shutdown_flags.forced.wait(0.05):
            self._file.beat()
            try:
                self._send_heartbeats()
                self._redis_answered()
            except (RedisError, OSError) as error:
                self._wait_for_redis(error)
            if self._redis_failures and not self._runtime.held:
                # Every effect is stored; what is left is to tell Redis, which is away and will find out.
                break
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self) -> None:
        self._file.remove()
        try:
            self._quick.ping()
            self.teardown()  # type: ignore[no-untyped-call]
        except (RedisError, OSError):
            log.warning("left without telling Redis", worker=self.name)
