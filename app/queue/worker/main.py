"""Puts a worker together and runs it."""

from __future__ import annotations

import logging
import os
import socket
import sys
import uuid

from redis import Redis, RedisError
from sqlalchemy.exc import SQLAlchemyError

from app import fail_fast
from app.db.engine import sync_engine
from app.observability import traces
from app.observability.jobs import JobRecorder, MetricsPortError, Unrecorded
from app.observability.logging import get_logger
from app.queue.attempts import Attempts
from app.queue.connections import UnsuitableServerError, check_server, patient_client, quick_client
from app.queue.gate import DatabaseGate
from app.queue.handler import MakeHandlers
from app.queue.sweeper import Sweeper
from app.queue.wakeups import Wakeups
from app.queue.worker.health import HeartbeatFile
from app.queue.worker.isolated import isolate
from app.queue.worker.loop import EXIT_OK, Worker
from app.queue.worker.protection import TaskProtection
from app.queue.worker.rq_worker import RqWorker
from app.queue.worker.signals import Shutdown
from app.queue.worker.upkeep import Upkeep
from app.settings import Settings

log = get_logger()

EXIT_UNSUITABLE = 2
_REDIS_POLL = 1.0


def main(settings: Settings, handlers: MakeHandlers) -> int:
    """See app.queue.worker.run."""
    # RQ logs every step of every job at info; ours are one line at a job's start and one at its end.
    logging.getLogger("rq").setLevel(logging.WARNING)
    logging.getLogger("rq.worker").setLevel(logging.WARNING)
    shutdown = Shutdown()
    shutdown.install()
    fail_fast.install(shutdown.fail)
    heartbeat_file = HeartbeatFile(settings.health_file)
    heartbeat_file.remove()
    try:
        # Before Redis: a worker that waits for it is one whose figures somebody will look for.
        recorder = _recorder(settings, heartbeat_file)
    except MetricsPortError as error:
        log.error("cannot start", reason=str(error))
        return EXIT_UNSUITABLE
    url = settings.redis_url.get_secret_value()
    # Random, so that a restart after SIGKILL need not wait until Redis forgets the old one.
    name = f"{socket.gethostname().partition('.')[0]}-{uuid.uuid4().hex[:12]}"
    quick = quick_client(url, name=f"{name}-loop")
    try:
        if not _wait_for_redis(quick, shutdown):
            return EXIT_OK
    except UnsuitableServerError as error:
        log.error("cannot start", reason=str(error))
        return EXIT_UNSUITABLE

    engine = sync_engine(settings)
    attempts = Attempts.of(
        settings, engine=engine, worker=name, handlers=isolate(handlers, settings), recorder=recorder
    )
    job_timeout, interval = settings.queue_job_timeout / 1000, settings.sweep_interval / 1000
    patient, loops = (
        Wakeups(client, name=settings.queue_name, job_timeout=job_timeout, worker=name)
        for client in (patient_client(url, name=name), quick)
    )
    rq = RqWorker(patient.rq, name=name, quick=quick, shutdown=shutdown)
    worker = Worker(
        wakeups=loops,
        acknowledging=patient,
        rq=rq,
        concurrency=settings.queue_concurrency,
        gate=DatabaseGate(engine),
        heartbeat_file=heartbeat_file,
        shutdown=shutdown,
        attempts=attempts,
        stop_timeout=settings.shutdown_timeout / 1000,
    )
    Upkeep(
        rq=rq,
        sweeper=Sweeper(records=attempts.records, wakeups=loops, interval=interval, urgent=settings.queue_urgent_kinds),
        wakeups=loops,
        stop=worker.stopping,
        interval=interval,
        keep_finished=settings.queue_remove_on_complete,
        keep_failed=settings.queue_remove_on_fail,
    ).start()
    protection = TaskProtection.of(
        os.environ, busy=lambda: worker.unfinished > 0, longest_job=job_timeout, stop=worker.stopping
    )
    if protection:
        protection.start()
    code = worker.serve()
    unfinished = worker.unfinished
    if unfinished or code == fail_fast.EXIT_FAILED or attempts.unanswered:
        _release(worker)
    traces.stop()
    log.info("worker stopped", worker=name, unfinished=unfinished, exit_code=code)
    if unfinished:
        # The interpreter would wait for the threads of jobs that are another worker's by now.
        sys.stdout.flush()
        os._exit(code)
    engine.dispose()
    quick.close()
    patient.client.close()
    return code


def _recorder(settings: Settings, heartbeat_file: HeartbeatFile) -> JobRecorder:
    """Whoever measures the jobs, already serving. Raises MetricsPortError."""
    if not settings.metrics_port:
        return Unrecorded()
    from app.observability.worker_metrics import WorkerMetrics

    metrics = WorkerMetrics(settings, heartbeat_age=lambda: heartbeat_file.age)
    metrics.serve(host=settings.host, port=settings.metrics_port)
    return metrics


def _wait_for_redis(client: Redis, shutdown: Shutdown) -> bool:
    """True when the server is there and suitable, False when a signal came first."""
    reported = False
    while not shutdown.requested.is_set():
        try:
            check_server(client)
        except (RedisError, OSError) as error:
            if not reported:
                log.warning("waiting for Redis", reason=type(error).__name__)
            reported = True
            shutdown.requested.wait(_REDIS_POLL)
        else:
            return True
    return False


def _release(worker: Worker) -> None:
    try:
        worker.release()
    except (SQLAlchemyError, RedisError, OSError) as error:
        log.warning("jobs not handed back, their leases will end", reason=type(error).__name__)
