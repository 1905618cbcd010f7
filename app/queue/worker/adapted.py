"""RQ's worker with the hooks changed that do not fit threads. Nothing here runs a job."""

from __future__ import annotations

from typing import Any

from redis import Redis, RedisError
from rq import Queue
from rq.timeouts import BaseDeathPenalty
from rq.worker import BaseWorker

from app.observability.logging import get_logger
from app.queue.rq_queue import HEARTBEAT_INTERVAL
from app.queue.worker.signals import Shutdown

log = get_logger()

# RQ's defaults notice a killed worker after ten minutes and more; with these, after about one.
WORKER_TTL = 45
MAINTENANCE_INTERVAL = 15


class NoDeathPenalty(BaseDeathPenalty):
    """RQ's needs SIGALRM, which reaches the main thread alone, or an exception injected between two byte codes of the
    job, where it can leave a transaction half done. A job's own deadline does neither."""

    def setup_death_penalty(self) -> None:
        """Nothing to set up."""

    def cancel_death_penalty(self) -> None:
        """Nothing to cancel."""


class AdaptedWorker(BaseWorker):
    """One queue only: with more, RQ pops in a way that loses the job when the worker dies."""

    death_penalty_class = NoDeathPenalty
    log_result_lifespan = False

    def __init__(self, queue: Queue, *, name: str, shutdown: Shutdown) -> None:
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
        self._shutdown_flags = shutdown
        self._stop = shutdown.requested

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
