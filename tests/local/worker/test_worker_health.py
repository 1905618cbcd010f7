"""The container's health check against real workers: what it must see, and what it must not restart a worker for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from app.healthcheck import STALE_SECONDS, problem
from app.queue.gate import DatabaseGate
from app.queue.pipeline import Pipeline
from app.queue.worker.health import HeartbeatFile, Pulse
from app.queue.worker.signals import Shutdown


def check(worker: Any, *, later: float = 0.0) -> str | None:
    """What the health check says; `later`: as if asked so many seconds from now."""
    environ = {"MODE": "worker", "HEALTH_FILE": str(worker.health_file)}
    return problem(environ, now=lambda: time.time() + later)


def last_beat(worker: Any) -> float:
    return float(worker.health_file.stat().st_mtime)


def test_the_command_passes_for_a_worker_that_works_and_fails_for_one_that_ended(
    world: Any, workers: Any, eventually: Any
) -> None:
    worker = workers.start()
    eventually(worker.health_file.exists)
    environ = {"PATH": os.environ["PATH"], "MODE": "worker", "HEALTH_FILE": str(worker.health_file)}
    command = [sys.executable, "-m", "app.healthcheck"]
    assert subprocess.run(command, env=environ, timeout=20).returncode == 0

    worker.terminate()
    assert worker.wait() == 0
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=20)
    assert (ended.returncode, "no heartbeat of the worker" in ended.stderr) == (1, True)


def test_a_loop_that_hangs_goes_stale_and_is_well_again_when_it_goes_on(
    world: Any, workers: Any, eventually: Any
) -> None:
    worker = workers.start()
    eventually(worker.health_file.exists)
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        before = last_beat(worker)
        time.sleep(3)
        assert last_beat(worker) == before
        assert "last heartbeat" in (check(worker, later=STALE_SECONDS) or "")
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    eventually(lambda: last_beat(worker) > before)
    assert check(worker) is None


def test_a_hanging_loop_is_seen_although_other_threads_go_on(
    world: Any, tmp_path: Path, eventually: Any, make_worker: Any
) -> None:
    """A file that a thread of its own touched would look well for ever."""
    hang, go_on, shutdown = threading.Event(), threading.Event(), Shutdown()

    class Gate(DatabaseGate):
        def is_open(self) -> bool:
            if hang.is_set():
                go_on.wait(30)
            return super().is_open()

    path = tmp_path / "alive"
    file = HeartbeatFile(str(path))
    worker = make_worker("hangs", gate=Gate(world.engine), heartbeat_file=file, shutdown=shutdown)
    loop = threading.Thread(target=worker.serve)
    loop.start()
    try:
        eventually(path.exists)
        hang.set()
        time.sleep(1.5)
        before = path.stat().st_mtime
        time.sleep(2)
        assert path.stat().st_mtime == before
    finally:
        shutdown.requested.set()
        go_on.set()
        loop.join(20)
    assert not loop.is_alive()


def test_a_worker_with_all_its_slots_taken_is_well(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any
) -> None:
    worker = workers.start(QUEUE_CONCURRENCY="1", DELIVERY_TIMEOUT="4000")
    eventually(worker.health_file.exists)
    world.add(receiver.on("/slow", answers(200, after=2.5)))
    eventually(lambda: receiver.requests)
    before = last_beat(worker)
    eventually(lambda: last_beat(worker) > before, timeout=2.4)


def test_a_worker_is_not_restarted_for_a_redis_that_is_away(
    world: Any, workers: Any, valkey: Any, eventually: Any
) -> None:
    worker = workers.start()
    eventually(worker.health_file.exists)
    valkey.stop()
    try:
        eventually(lambda: worker.events("waiting for Redis"))
        before = last_beat(worker)
        eventually(lambda: last_beat(worker) > before)
        assert check(worker) is None
    finally:
        valkey.start()
    eventually(lambda: worker.events("Redis is back"))
    assert check(worker) is None


def test_nor_for_one_that_takes_connections_and_says_nothing(
    world: Any, workers: Any, valkey: Any, eventually: Any
) -> None:
    """Each call then costs its timeouts; a beat must come round well within the limit all the same."""
    worker = workers.start()
    eventually(worker.health_file.exists)
    oldest = 0.0
    os.kill(valkey._process.pid, signal.SIGSTOP)
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            oldest = max(oldest, time.time() - last_beat(worker))
            assert check(worker) is None
            time.sleep(0.2)
    finally:
        os.kill(valkey._process.pid, signal.SIGCONT)
    assert worker.events("waiting for Redis")
    assert 2 < oldest < STALE_SECONDS - 10
    eventually(lambda: worker.events("Redis is back"))


def test_nor_for_a_suspended_queue(world: Any, workers: Any, eventually: Any) -> None:
    worker = workers.start()
    eventually(worker.health_file.exists)
    world.redis.set("rq:suspended", 1)
    try:
        time.sleep(1.5)
        before = last_beat(worker)
        eventually(lambda: last_beat(worker) > before, timeout=5)
    finally:
        world.redis.delete("rq:suspended")


@pytest.mark.parametrize("step", ["claim", "store", "acknowledge"])
def test_a_step_that_stands_still_is_seen_although_the_loop_goes_on(
    tmp_path: Path, eventually: Any, make_worker: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """No slot was ever free again, and the loop that beats knew of nothing."""
    go_on, stuck = threading.Event(), threading.Event()
    monkeypatch.setattr("app.queue.worker.loop._STANDSTILL", 0.5)

    def stands(self: Pipeline, batch: Any) -> None:
        stuck.set()
        go_on.wait(30)

    monkeypatch.setattr(Pipeline, f"_{step}", stands)
    path, shutdown = tmp_path / "alive", Shutdown()
    worker = make_worker("stands", heartbeat_file=HeartbeatFile(str(path)), shutdown=shutdown)
    loop = threading.Thread(target=worker.serve)
    loop.start()
    try:
        eventually(path.exists)
        time.sleep(1.5)
        before = path.stat().st_mtime
        eventually(lambda: path.stat().st_mtime > before)
        worker._pipeline._stages[step].put([object()])
        assert stuck.wait(10)
        time.sleep(2)
        before = path.stat().st_mtime
        time.sleep(2)
        assert path.stat().st_mtime == before, "it beats although nothing moves"
        go_on.set()
        eventually(lambda: path.stat().st_mtime > before)
    finally:
        go_on.set()
        shutdown.requested.set()
        loop.join(20)
    assert not loop.is_alive()


def test_a_step_that_waits_for_what_is_away_does_not_stand_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker is not restarted for a Redis or Postgres that is away: a new one could do no more."""
    now = 100.0
    monkeypatch.setattr("app.queue.worker.health.time.monotonic", lambda: now)
    path = tmp_path / "alive"
    pulse = Pulse(HeartbeatFile(str(path)), busy_since=lambda: {"store": 100.0}, limit=60.0)

    def beats(*, waiting: bool = False) -> bool:
        path.unlink(missing_ok=True)
        pulse.beat(waiting=waiting)
        return path.exists()

    now = 159.0
    assert beats()
    now = 161.0
    assert not beats()
    now = 400.0
    assert beats(waiting=True)
    now = 450.0
    assert beats()
    now = 461.0
    assert not beats()
