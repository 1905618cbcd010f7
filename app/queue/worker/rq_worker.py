"""RQ's worker, as RQ's tools see this process: its registration, its heartbeats, and what only RQ's own code does.

RQ's keys stay what RQ's tools expect: the worker is registered with its heartbeat and counts, and every running job has
its execution and its entry in the started registry. The hooks are changed that do not fit threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from redis import Redis, RedisError
from rq import Queue, worker_registration
from rq.executions import Execution
from rq.job import Job as RqJob
from rq.suspension import is_suspended
from rq.timeouts import BaseDeathPenalty
from rq.worker import BaseWorker, WorkerStatus

from app.observability.logging import get_logger
from app.queue.job import Job
from app.queue.wakeups import ABANDONED_AFTER, HEARTBEAT_INTERVAL
from app.queue.worker.signals import Shutdown

log = get_logger()

# RQ's defaults notice a killed worker after ten minutes and more; with these, after about one.
WORKER_TTL = 45
MAINTENANCE_INTERVAL = 15

# The two times that have just been written need not be read back.
_JUST_WRITTEN = frozenset({b"started_at", b"last_heartbeat"})


class NoDeathPenalty(BaseDeathPenalty):
    """RQ's needs SIGALRM, which reaches the main thread alone, or an exception injected between two byte codes of the
    job, where it can leave a transaction half done. A job's own deadline does neither."""

    def setup_death_penalty(self) -> None:
        """Nothing to set up."""

    def cancel_death_penalty(self) -> None:
        """Nothing to cancel."""


class RqWorker(BaseWorker):
    """Of one queue only: with more, RQ pops in a way that loses the job when the worker dies. `queue` carries the
    patient connection, `quick` is the loop's own. None of RQ's own loop runs."""

    death_penalty_class = NoDeathPenalty
    log_result_lifespan = False

    def __init__(self, queue: Queue, *, name: str, quick: Redis, shutdown: Shutdown) -> None:
        """Talks to Redis."""
        super().__init__(
            [queue],
            name=name,
            connection=queue.connection,
            worker_ttl=WORKER_TTL,
            maintenance_interval=MAINTENANCE_INTERVAL,
            job_monitoring_interval=HEARTBEAT_INTERVAL,
            log_job_description=False,
            serializer="json",
        )
        self._queue, self._quick = queue, quick
        self._stop = shutdown.requested

    # -- what the loop shows of itself

    def join(self) -> None:
        """Register with Redis, and listen to RQ's commands."""
        self.bootstrap(logging_level=None)

    def keep_alive(self, jobs: Sequence[Job]) -> None:
        """Tell Redis that this worker and its jobs are alive, and who it is, in case Redis forgot."""
        if self.birth_date is None:
            return
        with self._quick.pipeline() as pipeline:
            self.heartbeat(WORKER_TTL + 60, pipeline=pipeline)
            pipeline.hset(self.key, mapping=self.serialize())
            pipeline.hset(self.key, "state", WorkerStatus.BUSY if jobs else WorkerStatus.IDLE)
            worker_registration.register(self, pipeline)
            for job in jobs:
                self.execution_of(job).heartbeat(self._queue.started_job_registry, ABANDONED_AFTER, pipeline)
            pipeline.execute()

    @property
    def suspended(self) -> bool:
        """Whether `rq suspend` holds all workers."""
        return bool(is_suspended(self._quick, self))

    def show(self, *, busy: bool) -> None:
        state = WorkerStatus.BUSY if busy else WorkerStatus.IDLE
        if self.get_state() != state:
            self.set_state(state, pipeline=cast("Any", self._quick))

    def show_again(self) -> None:
        """Redis was away, and may have forgotten."""
        self._state = ""

    def leave(self) -> None:
        """Take the registration back. Raises whatever keeps it from that."""
        self._quick.ping()
        self.teardown()  # type: ignore[no-untyped-call]

    # -- jobs that need more of RQ than the pipeline does itself: see app.queue.foreign.RqSide

    def job_of(self, job: Job) -> RqJob:
        theirs = RqJob(job.rq_id, connection=self._queue.connection, serializer=self._queue.serializer)
        theirs.restore({name: value for name, value in job.fields.items() if name not in _JUST_WRITTEN})
        theirs.started_at = theirs.last_heartbeat = datetime.fromtimestamp(job.dequeued_at, UTC)
        return theirs

    def perform(self, job: Job, theirs: RqJob) -> None:
        """Callbacks, repeats, rate limits: all of it RQ's own way."""
        self.perform_job(theirs, self._queue, self.execution_of(job))

    def finish(self, job: Job, theirs: RqJob, value: Any) -> None:
        theirs.redis_server_version = self.get_redis_server_version()  # type: ignore[no-untyped-call]
        self._finalize_success(theirs, self._queue, self.execution_of(job), value)

    def fail(self, job: Job, theirs: RqJob, exc_info: Any) -> None:
        theirs.redis_server_version = self.get_redis_server_version()  # type: ignore[no-untyped-call]
        self._finalize_failure(theirs, self._queue, self.execution_of(job), exc_info)

    def release_dependents(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            try:
                theirs = RqJob.fetch(job_id, connection=self.connection, serializer=self.serializer)
                self._queue.enqueue_dependents(theirs)
            except (RedisError, OSError):
                raise
            except Exception:  # data of somebody else's jobs, which RQ reads here
                log.exception("what depends on a job was not released", job_id=job_id)

    def execution_of(self, job: Job) -> Execution:
        return Execution(job.execution, job.rq_id, self.connection, worker_name=self.name)

    # -- RQ's hooks

    def _pubsub_exception_handler(self, exc: Exception, pubsub: Any, pubsub_thread: Any) -> None:  # noqa: ARG002
        """RQ's ends the thread on a timeout, and with it remote commands, until the next restart."""
        if self._stop.is_set():
            # Its connection may be closed under it at the end.
            pubsub_thread.stop()
            return
        if not isinstance(exc, RedisError | OSError):
            raise exc
        self._stop.wait(2.0)

    def unsubscribe(self) -> None:
        """RQ's first unsubscribes and then stops the thread, which by then waits again, and costs a second."""
        if self.pubsub is not None and self.pubsub_thread is not None:
            self.pubsub_thread.stop()
            self.pubsub.unsubscribe()
            self.pubsub_thread.join(timeout=1)
            self.pubsub.close()

    def request_stop_execution(self, execution_id: str) -> None:
        log.warning("a running job cannot be stopped in a thread, command ignored", execution_id=execution_id)

    def procline(self, message: str) -> None:
        """One process runs many jobs: its title is no place for the last one's name."""

    def _set_connection(self, connection: Redis) -> Redis:
        """RQ raises the socket timeout for its blocking pop; ours has a client of its own."""
        return connection
