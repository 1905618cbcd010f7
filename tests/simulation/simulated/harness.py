"""Where the simulation takes hold of the program. Nothing else here names its modules."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import os
import random as real_random
import sys
import threading as real_threading
import time as real_time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue as RealSimpleQueue
from typing import Any, ClassVar

import redis.backoff
import redis.retry
import rq.utils
from starlette.requests import ClientDisconnect

import app.queue.worker.main as worker_main
from app import fail_fast
from app.db import errors
from app.deliveries import job as delivery_job
from app.deliveries import service
from app.deliveries.schemas import DeliveryIn
from app.errors import Unavailable
from app.outbound.client import Answer
from app.outbound.network import RequestFailed
from app.queue import backoff, connections, outbox, wakeups
from app.queue.worker import signals
from app.settings import Settings
from app.web.middleware.limits import RequestTimeoutMiddleware
from simulated import postgres_client, shims, world
from simulated.redis_client import SimulatedRedis
from simulated.scheduler import EPOCH, Killed
from simulated.statements import POISON
from simulated.virtual_loop import VirtualLoop, run

QUEUE = "webhook-processor"
LEASE = 22.0
"""Seconds that a delivery is claimed for: its timeout and twenty seconds to store."""
SHUTDOWN = 4.0
SWEEP = 5.0

USER = uuid.UUID(int=7)


@functools.lru_cache(maxsize=64)
def _settings(mode: str, concurrency: int, request_timeout: float) -> Settings:
    environ = {
        "MODE": mode,
        "ENVIRONMENT": "test",
        "DATABASE_URL": "postgresql://simulated/simulated",
        "REDIS_URL": "redis://simulated:6379/0",
        "JWT_SECRET": "simulated" * 10,
        "QUEUE_CONCURRENCY": str(concurrency),
        "DELIVERY_TIMEOUT": "2000",
        "DELIVERY_BACKOFF": "200",
        "DELIVERY_BACKOFF_MAX": "2000",
        "QUEUE_JOB_TIMEOUT": "30000",
        "QUEUE_LEASE": "60000",
        "SHUTDOWN_TIMEOUT": f"{SHUTDOWN * 1000:g}",
        "SWEEP_INTERVAL": f"{SWEEP * 1000:g}",
        "REQUEST_TIMEOUT": f"{max(1, round(request_timeout * 1000))}",
    }
    return Settings.load(environ)


# -- names of the program that mean something else while it is simulated


def _replacements() -> dict[int, Any]:
    return {
        id(real_threading): shims.threading,
        id(real_time): shims.time,
        id(real_random): shims.random,
        id(sys.modules["queue"]): shims.queue,
        id(RealSimpleQueue): shims.SimpleQueue,
        id(real_time.monotonic): shims.time.monotonic,
        id(real_time.time): shims.time.time,
        id(real_time.sleep): shims.time.sleep,
        id(rq.utils.now): _rq_now,
    }


def _rq_now() -> Any:
    import datetime

    return datetime.datetime.fromtimestamp(EPOCH + shims.current().now, datetime.UTC)


_PREFIXES = ("app.", "rq.")


@contextmanager
def installed() -> Iterator[None]:
    """The program's modules see the simulation's threads, clock, chance and servers."""
    replaced: list[tuple[Any, str, Any]] = []

    def put(owner: Any, name: str, value: Any) -> None:
        replaced.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    known = _replacements()
    for module_name, module in list(sys.modules.items()):
        if module is None or not module_name.startswith(_PREFIXES):
            continue
        for name, value in list(vars(module).items()):
            if id(value) in known:
                put(module, name, known[id(value)])
            elif name == "log" and type(value).__name__.startswith("BoundLoggerLazyProxy"):
                put(module, name, _Log())
    put(redis.retry, "sleep", shims.time.sleep)
    put(redis.backoff, "random", shims.random)
    put(uuid, "os", shims._Os(os))
    put(connections, "Redis", SimulatedRedis)
    put(worker_main, "sync_engine", lambda _: postgres_client.SimulatedEngine())
    put(worker_main, "socket", _Host)
    put(worker_main, "os", _Exits(os))
    put(signals.Shutdown, "install", lambda self: setattr(_process(), "shutdown", self))
    chance = backoff.delay.__kwdefaults__
    before = chance["chance"]
    chance["chance"] = lambda: shims.random.random()
    logging.disable(logging.CRITICAL)
    hooks = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = hooks
        logging.disable(logging.NOTSET)
        chance["chance"] = before
        for owner, name, value in reversed(replaced):
            setattr(owner, name, value)


class _Host:
    @staticmethod
    def gethostname() -> str:
        return "simulated"


class _Exits(shims._Module):
    @staticmethod
    def _exit(code: int) -> None:
        scheduler = shims.current()
        scheduler.kill(scheduler.alive().process, code)
        raise Killed

    environ: ClassVar[dict[str, str]] = {}


class _Log:
    """What the program logs is part of the trace."""

    def __getattr__(self, level: str) -> Callable[..., None]:
        return functools.partial(self._write, level)

    def _write(self, level: str, event: str, *_: Any, **facts: Any) -> None:
        here = world.current()
        task = here.scheduler.current
        if task is None or task.process.dead:
            return
        if facts.get("exc_info") or level == "exception":
            error = sys.exc_info()[1] or facts.get("exc_info")
            if os.environ.get("SIMULATION_TRACEBACKS"):
                traceback.print_exception(error)
            facts["exc_info"] = f"{type(error).__name__}: {error}"
        if event == "worker started":
            here.worker_names[facts["worker"]] = task.process.name
        here.logs.append((here.scheduler.now, task.process.name, event, facts))
        told = " ".join(f"{name}={value}" for name, value in facts.items())
        here.scheduler.note(f"log {event} {told}")


def _process() -> Any:
    return shims.current().alive().process


# -- a worker


def worker(concurrency: int) -> int:
    """The main thread of a worker: its exit code."""
    return worker_main.main(_settings("worker", concurrency, 1.0), _handlers)


def signal(process: Any) -> None:
    """SIGTERM."""
    shutdown = getattr(process, "shutdown", None)
    if shutdown is not None:
        shutdown._on_signal(15, None)


def _handlers(settings: Settings) -> dict[str, Any]:
    handler = delivery_job.DeliveryHandler(settings)
    handler._http = _Receiver()  # type: ignore[assignment]
    run = handler.run

    def observed(work: Any, job: Any) -> Any:
        here = world.current()
        _began(here, job)
        outcome = run(work, job)
        if number_of(work.body) in here.plan.poison:
            # Something of the answer that Postgres refuses.
            return dataclasses.replace(outcome, detail={**outcome.detail, "response_excerpt": POISON})
        return outcome

    handler.run = observed  # type: ignore[method-assign]
    return {delivery_job.KIND: handler}


def number_of(payload: str) -> int:
    return int(json.loads(payload)["body"])


def _began(here: world.World, job: Any) -> None:
    scheduler = here.scheduler
    process = scheduler.alive().process
    began = (scheduler.now, job.id, job.attempt, job.worker, process.name)
    here.runs.append(began)
    scheduler.note(f"attempt {job.attempt} of job {str(job.id)[:8]} runs")
    row = here.postgres.tables["jobs"][job.id]
    if (row["state"], row["attempt"], row["claimed_by"]) != ("running", job.attempt, job.worker):
        here.unclaimed.append(began)


class EndOfThread(BaseException):
    """What no handler of errors in the program catches."""


class _Receiver:
    """The receiver, and the way to it."""

    def request(self, method: str, target: Any, *, headers: Any, body: bytes, timeout: float, **_: Any) -> Answer:
        here = world.current()
        scheduler, receiver = here.scheduler, here.plan.receiver
        delivery = uuid.UUID(dict(headers)["webhook-id"])
        number = number_of(body.decode())
        scheduler.sleep(receiver["seconds"] * (0.1 + scheduler.rng.random()))
        here.calls.append((scheduler.now, delivery, scheduler.alive().process.name))
        if number in here.plan.killers:
            raise EndOfThread
        chance = scheduler.rng.random()
        scheduler.sleep(0.001)
        if chance < receiver["breaks"]:
            raise RequestFailed("the connection broke")
        return Answer(status=503 if chance < receiver["breaks"] + receiver["fails"] else 204, headers={}, body=b"")


# -- an API


class Api:
    """A process that accepts deliveries: the batches, the outbox and the bounds of requests."""

    def __init__(self, request_timeout: float) -> None:
        here = world.current()
        self.process = _process()
        self._settings = _settings("api", 1, request_timeout)
        self.loop = VirtualLoop(here.scheduler, turn=here.plan.turn)
        self._stop: Any = None

    def main(self) -> None:
        fail_fast.install(lambda: shims.current().kill(self.process, fail_fast.EXIT_FAILED))
        run(self.loop, self._serve)

    async def _serve(self) -> None:
        engine: Any = postgres_client.SimulatedAsyncEngine()
        announcer = outbox.Announcer.of(self._settings)
        self.state: Any = {"settings": self._settings, "engine": engine, "announcer": announcer}
        self.state["batcher"] = service.batcher(self.state)
        self._stop = self.loop.create_future()
        await self._stop

    def submit(self, one: world.Try, answered: Callable[[], None]) -> None:
        def begin() -> None:
            if self._stop is None:
                self.loop.call_later(0.001, begin)
                return
            task = self.loop.create_task(self._request(one, answered))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self.loop.tell(begin)

    @functools.cached_property
    def _tasks(self) -> set[Any]:
        return set()

    async def _request(self, one: world.Try, answered: Callable[[], None]) -> None:
        leaves = None if one.request.leaves is None else one.began + one.request.leaves
        scheduler = world.current().scheduler

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await errors.again_async(accept)

        async def accept() -> None:
            given = DeliveryIn(url="https://receiver.example/hook", payload=one.request.body)
            payload = json.dumps({"request": one.request.number, "try": one.number, "body": one.request.body})
            given = given.model_copy(update={"max_attempts": one.request.max_attempts})
            accepted, replayed = await service.accept(
                self.state, USER, given, payload, key=one.request.key,
                is_gone=None if leaves is None else lambda: scheduler.now >= leaves,
            )  # fmt: skip
            one.delivery, one.answer = accepted.id, "replayed" if replayed else "accepted"

        bounded: Any = RequestTimeoutMiddleware(application, seconds=self._settings.request_timeout / 1000)
        try:
            await bounded({"type": "http"}, None, None)
        except ClientDisconnect:
            one.answer = "gone"
        except Unavailable as error:
            one.answer = "timeout" if "took longer" in str(error.detail) else "unknown"
        except Exception as error:  # noqa: BLE001 - what the API answers with a problem
            kind = errors.kind(error)
            one.answer = "unknown" if kind.passes else f"{type(error).__name__}: {error}"
            scheduler.note(f"request {one.request.number} fails: {type(error).__name__} {error}")
        if one.answer in ("accepted", "replayed") and leaves is not None and scheduler.now >= leaves:
            one.answer = "unheard"
        one.ended = scheduler.now
        answered()


def enqueue(ids: list[uuid.UUID]) -> None:
    """Once more."""
    with contextlib.suppress(Exception):
        client = connections.quick_client("redis://simulated:6379/0", name="somebody")
        wakeups.Wakeups(client, name=QUEUE, job_timeout=30).enqueue(ids)


def enqueue_foreign(name: str) -> None:
    """As another program would, with plain RQ."""
    with contextlib.suppress(Exception):
        client = connections.quick_client("redis://simulated:6379/0", name="somebody")
        jobs = wakeups.Wakeups(client, name=QUEUE, job_timeout=30)
        jobs.rq.enqueue("simulated.foreign.touch", name, job_id=name)
