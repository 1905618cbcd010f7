"""Jobs taken before a slot is free for them: how many, and what becomes of them when no slot becomes free."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from app.deliveries.job import DeliveryHandler
from app.queue.attempts import Attempts
from app.queue.gate import DatabaseGate
from app.queue.pipeline import Pipeline
from app.queue.wakeups import Wakeups
from app.settings import Settings

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]

SLOTS = 4


class Line:
    """A pipeline without its worker: the test takes the jobs."""

    def __init__(self, world: Any, engine: Any) -> None:
        settings = Settings.load(
            {
                "MODE": "worker",
                "ENVIRONMENT": "test",
                "DATABASE_URL": engine.url.set(drivername="postgresql").render_as_string(hide_password=False),
                "REDIS_URL": "redis://none",
                "DELIVERY_ALLOW_HTTP": "true",
                "DELIVERY_ALLOW_PRIVATE_NETWORKS": "true",
            }
        )
        self.world = world
        self.wakeups = Wakeups(world.redis, name=world.queue.name, job_timeout=5, worker="line")
        handlers = {"delivery": DeliveryHandler(settings)}
        attempts = Attempts.of(settings, engine=engine, worker="line", handlers=handlers)
        self.pipeline = Pipeline(
            attempts=attempts,
            wakeups=self.wakeups,
            # Nothing here needs more of RQ than its keys.
            rq=None,  # type: ignore[arg-type]
            gate=DatabaseGate(engine),
            concurrency=SLOTS,
            expect=self.wakeups.expect,
        )

    def free(self) -> int:
        return self.pipeline.free(timeout=0.01)

    def feed(self, url: str, count: int) -> list[Any]:
        added = [self.world.add(url) for _ in range(count)]
        self.pipeline.put(self.wakeups.dequeue(count))
        return [job_id for _, job_id in added]

    def idle(self) -> bool:
        return not self.pipeline.under_way


@pytest.fixture
def line(world: Any) -> Any:
    engine = create_engine(world.engine.url)
    yield Line(world, engine)
    engine.dispose()


def settle(line: Line, url: str, eventually: Any, *, rounds: int = 1) -> None:
    for _ in range(rounds):
        line.feed(url, SLOTS)
        eventually(line.idle)


def test_no_job_is_taken_ahead_before_the_pace_is_known_or_when_it_is_slow(
    line: Line, receiver: Any, answers: Any, eventually: Any
) -> None:
    assert line.free() == SLOTS
    settle(line, receiver.on("/slow", answers(200, after=0.3)), eventually)
    assert line.free() == SLOTS


def test_short_jobs_are_taken_ahead_and_no_more_run_at_once(line: Line, receiver: Any, eventually: Any) -> None:
    settle(line, receiver.on("/fast", lambda handler, _: (time.sleep(0.01), reply_ok(handler))), eventually, rounds=10)
    assert SLOTS < line.free() <= 2 * SLOTS

    line.feed(receiver.url + "/fast", 2 * SLOTS)
    eventually(line.idle)

    assert receiver.most_at_once <= SLOTS
    assert len(receiver.to("/fast")) == 12 * SLOTS


def test_what_was_taken_ahead_goes_back_when_no_slot_becomes_free(
    line: Line, world: Any, receiver: Any, answers: Any, eventually: Any
) -> None:
    settle(line, receiver.on("/fast", answers(200)), eventually, rounds=10)
    running = line.feed(receiver.on("/hang", answers(200, after=3.0)), SLOTS)
    waiting = line.feed(receiver.url + "/fast", 2)
    eventually(lambda: all(world.job(job_id).state == "running" for job_id in (*running, *waiting)))

    line.pipeline.hand_on()
    assert world.redis.llen(world.queue.rq.key) == 0, "they have not waited for long"
    time.sleep(1.1)
    line.pipeline.hand_on()

    eventually(lambda: world.redis.llen(world.queue.rq.key) == 2)
    assert [(world.job(job_id).state, world.job(job_id).attempt) for job_id in waiting] == [("pending", 0)] * 2
    assert line.free() == 0, "by the pace of those that hang, nothing is taken ahead"
    eventually(line.idle)
    assert [world.job(job_id).state for job_id in running] == ["done"] * SLOTS
    assert line.free() == SLOTS


def test_without_a_database_they_wait_on(
    line: Line, world: Any, receiver: Any, answers: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.feed(receiver.on("/hang", answers(200, after=2.0)), SLOTS)
    [job_id] = line.feed(receiver.url + "/fast", 1)
    eventually(lambda: world.job(job_id).state == "running")

    def away(jobs: Any, *, error: str) -> None:
        raise OperationalError("", {}, Exception())

    monkeypatch.setattr(line.pipeline._attempts, "release", away)
    time.sleep(1.1)
    line.pipeline.hand_on()

    eventually(lambda: world.job(job_id).state == "done")
    assert world.job(job_id).attempt == 1


def reply_ok(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "0")
    handler.end_headers()
