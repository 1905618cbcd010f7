"""Kinds of jobs that run each in a process of its own: work that computes, or that may not come back.

A thread cannot be killed and shares the interpreter; a process can be, and takes down nobody when it crashes or eats
its memory. The price is some ten milliseconds a job and the memory of an interpreter a slot, so only kinds named in
QUEUE_ISOLATED_KINDS pay it.

Processes come from a fork server: forking this one, with its threads, would copy locks that nobody releases.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import threading
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from typing import Any

from app import fail_fast
from app.observability import correlation
from app.observability.logging import configure, get_logger
from app.queue.handler import Handler, MakeHandlers
from app.queue.job import INTERNAL_ERROR, Job, Outcome
from app.settings import Settings

log = get_logger()

_STORE_SECONDS = 5.0
"""Left of the lease when a process is ended for its deadline: its result has to be stored."""
_GOODBYE = 1.0
"""For a process to end by itself once its pipe is closed."""
_CRASHED = 1

_context = multiprocessing.get_context("forkserver")


class IsolatedHandler:
    """The handler of one kind, but for `run`, which happens in a process. See app.queue.handler.Handler."""

    def __init__(self, handler: Handler, *, kind: str, settings: Settings, make: MakeHandlers) -> None:
        self._kind, self._settings, self._make = kind, settings, make
        self.lease, self.effects = handler.lease, handler.effects
        self._seconds = max(1.0, self.lease - _STORE_SECONDS)

    def run(self, work: Any, job: Job) -> Outcome:
        """Ends the process when the deadline has passed; raises nothing but what starting it raises."""
        mine, theirs = _context.Pipe(duplex=False)
        process = _context.Process(
            target=_run, args=(theirs, self._settings, self._make, self._kind, work, job), name=f"job-{self._kind}"
        )
        process.start()
        theirs.close()
        try:
            in_time = bool(wait([mine, process.sentinel], self._seconds))
            outcome: Outcome | None = mine.recv() if mine.poll() else None
        except EOFError:
            outcome = None
        finally:
            mine.close()
            # It has sent its outcome or is about to end, or it ignores its deadline.
            process.join(_GOODBYE if in_time else 0)
            process.kill()
            process.join()
        if outcome is None:
            error = _reason(process.exitcode or 0) if in_time else "the job ignored its deadline and was ended"
            log.warning("a job's process failed", job_id=str(job.id), kind=self._kind, reason=error)
            outcome = Outcome(result="retry", error=error)
        return outcome


def isolate(make: MakeHandlers, settings: Settings) -> dict[str, Handler]:
    """The handlers, those of QUEUE_ISOLATED_KINDS in processes. Starts the fork server when there are any: it takes as
    long as this process took, and no job's lease is to pass meanwhile."""
    handlers = make(settings)
    if settings.queue_isolated_kinds:
        # What a child would import otherwise, each of them again.
        modules = {make.__module__, *(type(handler).__module__ for handler in handlers.values())}
        _context.set_forkserver_preload([__name__, *modules])
        first = _context.Process(target=_run_nothing)
        first.start()
        first.join()
    return {
        kind: IsolatedHandler(handler, kind=kind, settings=settings, make=make)
        if kind in settings.queue_isolated_kinds
        else handler
        for kind, handler in handlers.items()
    }


def _run_nothing() -> None:
    """For a process that shows that processes can be had."""


def _reason(exit_code: int) -> str:
    if exit_code < 0:
        return f"the job's process was ended by {signal.Signals(-exit_code).name}"
    return f"the job's process ended with exit code {exit_code} and no result"


def _run(pipe: Pipe, settings: Settings, make: MakeHandlers, kind: str, work: Any, job: Job) -> None:
    """The child."""
    # Signals are the worker's: it waits for its jobs, or ends them.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure(settings)
    fail_fast.install(lambda: os._exit(_CRASHED))
    threading.Thread(target=_end_with_the_worker, name="end-with-the-worker", daemon=True).start()
    if limit := settings.queue_isolated_memory:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with correlation.bound(job.correlation_id):
        try:
            outcome = make(settings)[kind].run(work, job)
        except MemoryError:
            outcome = Outcome(result="retry", error=f"the job needed more than {limit:,} bytes of memory")
        except Exception:  # as in a thread: a counted attempt
            log.exception("job failed unexpectedly", job_id=str(job.id))
            outcome = Outcome(result="retry", error=INTERNAL_ERROR)
    pipe.send(outcome)


def _end_with_the_worker() -> None:
    """A worker that was killed ends nobody: without it nobody waits for the result."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    sys.stdout.flush()
    os._exit(_CRASHED)
