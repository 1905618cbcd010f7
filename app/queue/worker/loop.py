"""The loop of a worker: several jobs at once in one process.

The jobs wait on the network, so threads do; a forked process per slot would cost a container ten times the memory.

What differs from RQ's own workers, and why:
- Jobs are dequeued, claimed, stored and acknowledged in batches (app.queue.wakeups, app.queue.pipeline).
- Signals only set a flag. RQ raises from the handler, which can strike between the pop and the registration of a job,
  or inside a transaction.
- The loop outlives Redis: RQ's quits on an error that it does not know.
- A thread cannot be killed. Jobs keep their own deadline; one that overruns it by a minute ends the whole worker, whose
  other jobs finish first, and which counts the attempt.
"""

from __future__ import annotations

import threading
import time

from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app.fail_fast import EXIT_FAILED
from app.observability.logging import get_logger
from app.queue.attempts import Attempts
from app.queue.gate import DatabaseGate
from app.queue.pipeline import Pipeline
from app.queue.wakeups import HEARTBEAT_INTERVAL, Wakeups
from app.queue.worker.health import HeartbeatFile, Pulse
from app.queue.worker.rq_worker import RqWorker
from app.queue.worker.signals import Shutdown

log = get_logger()

_POLL = 0.5
"""Longest wait for a job, and so the longest until a signal is noticed."""
_OVERRUN_CHECK = 1.0
_STANDSTILL = 60.0
"""Seconds beyond the longest lease that a step may take over the same jobs until this worker counts as unwell."""

EXIT_OK = 0
EXIT_STUCK = 70


class Worker:
    """`serve` until a signal."""

    def __init__(
        self,
        *,
        wakeups: Wakeups,
        acknowledging: Wakeups,
        rq: RqWorker,
        concurrency: int,
        gate: DatabaseGate,
        heartbeat_file: HeartbeatFile,
        shutdown: Shutdown,
        attempts: Attempts,
        stop_timeout: float,
    ) -> None:
        """`wakeups` is the loop's own, and fails quickly; `acknowledging` outlasts a restart of Redis. `stop_timeout`:
        seconds from a signal to the end of the jobs under way."""
        self._wakeups, self._rq, self._gate, self._file = wakeups, rq, gate, heartbeat_file
        self._attempts, self._shutdown, self._stop_timeout = attempts, shutdown, stop_timeout
        self._stop = shutdown.requested
        self._pipeline = Pipeline(
            attempts=attempts,
            wakeups=acknowledging,
            rq=rq,
            gate=gate,
            concurrency=concurrency,
            expect=wakeups.expect,
        )
        limit = attempts.longest_lease + _STANDSTILL
        self._pulse = Pulse(heartbeat_file, busy_since=self._pipeline.busy_since, limit=limit)
        self._next_heartbeat = 0.0
        self._next_suspension_check = 0.0
        self._next_overrun_check = 0.0
        self._redis_failures = 0
        self._exit_code = EXIT_OK

    def serve(self) -> int:
        """Run jobs until a signal or a failure; the exit code. Afterwards `unfinished` says what is still running."""
        self._rq.join()
        log.info("worker started", worker=self._attempts.worker, queue=self._wakeups.name)
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
            self._shutdown.fail()
        finally:
            if self._shutdown.failed.is_set():
                self._exit_code = EXIT_FAILED
            self._leave()
        return self._exit_code

    @property
    def unfinished(self) -> int:
        """Jobs that are not acknowledged yet."""
        return len(self._pipeline.under_way)

    @property
    def stopping(self) -> threading.Event:
        return self._stop

    def release(self) -> None:
        """Let another worker have the jobs under way now, rather than when their leases end."""
        self._attempts.release(suspects=self._pipeline.suspects)
        # Whether one is to run again is the claim's to say.
        known = {job.execution: job for job in self._pipeline.jobs()}
        self._wakeups.release([*known.values(), *self._wakeups.dequeued_beside(known)])

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
        wait = self._wakeups.promote()
        free = self._pipeline.free(timeout=_POLL)
        if not free:
            return
        jobs = self._wakeups.dequeue(free)
        if self._stop.is_set():
            self._wakeups.release(jobs)
            return
        if jobs:
            self._pipeline.put(jobs)
            self._rq.show(busy=True)
        if len(jobs) < free:
            # There are no more.
            found = self._wakeups.wait(max(0.01, min(wait, _POLL)))
            if not found and not self._pipeline.under_way:
                # Not between two jobs that follow each other closely: that cost each of them two round trips.
                self._rq.show(busy=False)

    def _beat(self) -> None:
        if self._gate.was_open:
            # Not before: a worker with a wrong password is to fail its deployment, not to look well.
            self._pulse.beat(waiting=self._redis_failures > 0 or not self._gate.was_usable)

    def _suspended(self) -> bool:
        """Whether `rq suspend` holds all workers; waits a little if so."""
        if time.monotonic() < self._next_suspension_check:
            return False
        if self._rq.suspended:
            self._stop.wait(_POLL)
            return True
        self._next_suspension_check = time.monotonic() + _POLL
        return False

    def _wait_for_redis(self, error: Exception) -> None:
        self._redis_failures += 1
        if self._redis_failures == 1:
            log.warning("waiting for Redis", reason=type(error).__name__)
        self._rq.show_again()
        self._next_heartbeat = 0.0
        self._stop.wait(min(3.0, 0.1 * 2 ** min(self._redis_failures, 5)))

    def _redis_answered(self) -> None:
        if self._redis_failures:
            log.info("Redis is back")
            self._redis_failures = 0

    def _send_heartbeats(self) -> None:
        if time.monotonic() < self._next_heartbeat:
            return
        self._rq.keep_alive(self._pipeline.jobs())
        self._put_back_strays()
        self._next_heartbeat = time.monotonic() + HEARTBEAT_INTERVAL

    def _put_back_strays(self) -> None:
        """Put back what Redis believes to be under way here and is not: the answer to a pop was lost with its
        connection, or Redis was away when a job ended. In the loop's own thread, so that no pop can be half way."""
        # Noted before Redis is asked: one that ends in between is in the note, or no longer in Redis. The other way
        # round, those that had just ended looked like strays, and ran again.
        known = {job.execution for job in self._pipeline.jobs()}
        strays = self._wakeups.dequeued_beside(known)
        if strays:
            log.warning("jobs that are not under way here go back", job_ids=[job.rq_id for job in strays])
            self._wakeups.release(strays)

    def _check_overruns(self) -> None:
        if time.monotonic() < self._next_overrun_check:
            return
        self._next_overrun_check = time.monotonic() + _OVERRUN_CHECK
        self._pipeline.hand_on()
        if self._gate.was_usable:
            try:
                self._attempts.recover()
            except SQLAlchemyError as error:
                log.warning("claims without an answer not looked up yet", reason=type(error).__name__)
        if stuck := [*self._attempts.stuck(), *self._pipeline.overdue()]:
            log.critical("jobs ignore their deadline, the worker ends to be rid of them", job_ids=stuck)
            self._exit_code = EXIT_STUCK
            self._stop.set()

    def _drain(self) -> None:
        """Wait for the jobs under way, with heartbeats, for as long as the stop allows; those that stay are handed
        back."""
        log.info("worker stopping", worker=self._attempts.worker, jobs=self.unfinished)
        end = time.monotonic() + self._stop_timeout
        while self.unfinished and time.monotonic() < end and not self._shutdown.forced.wait(0.05):
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
            if self._redis_failures and not self._attempts.held:
                # Every effect is stored; what is left is to acknowledge, and Redis, which is away, will find out.
                break

    def _leave(self) -> None:
        self._file.remove()
        try:
            self._rq.leave()
        except Exception as error:  # noqa: BLE001 - its jobs are to be handed back all the same
            log.warning("left without telling Redis", worker=self._attempts.worker, reason=type(error).__name__)
