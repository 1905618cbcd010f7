"""Kinds of jobs that run in processes: what such a process may do, only its own job feels."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from app import composition
from app.features import JOB_KINDS
from app.settings import Settings

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]

# In every Python that the worker starts: what a job does is told by the path of its URL.
MISBEHAVIOUR = """
import os, signal, time
from app.deliveries import job as delivery

send = delivery.DeliveryHandler.run

def run(self, work, job):
    if "/crash" in work.url:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "/eat" in work.url:
        bytearray(2_000_000_000)
    if "/hang" in work.url:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        while True:
            time.sleep(1)
    return send(self, work, job)

delivery.DeliveryHandler.run = run
"""


@pytest.fixture
def isolated(workers: Any, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "sitecustomize.py").write_text(MISBEHAVIOUR)
    return {
        "QUEUE_ISOLATED_KINDS": "delivery",
        "QUEUE_ISOLATED_MEMORY": "1000000000",
        "PYTHONPATH": f"{tmp_path}:{Path.cwd()}",
        # The lease, and with it the deadline of a process: 13 s less 5 s to store the result.
        "QUEUE_LEASE": "13000",
    }


def test_the_settings_name_the_kinds_that_there_are() -> None:
    settings = Settings.load({"MODE": "migrate", "ENVIRONMENT": "test", "DATABASE_URL": "postgresql://u@/d"})
    assert tuple(composition.handlers(settings)) == JOB_KINDS


def test_a_job_in_a_process_does_what_it_does_in_a_thread(
    world: Any, workers: Any, receiver: Any, isolated: dict[str, str]
) -> None:
    worker = workers.start(**isolated)
    added = [world.add(f"{receiver.url}/n/{n}") for n in range(20)]

    for delivery_id, _ in added:
        world.settled(delivery_id, "delivered")

    assert len(receiver.requests) == 20
    worker.terminate()
    assert worker.wait() == 0


@pytest.mark.flips("queue_isolated_memory")
def test_a_crash_a_glutton_and_one_that_hangs_cost_nobody_else_anything(
    world: Any, workers: Any, receiver: Any, isolated: dict[str, str]
) -> None:
    worker = workers.start(**isolated)
    crash, eat = (world.add(f"{receiver.url}/{what}", max_attempts=2)[0] for what in ("crash", "eat"))
    hang, _ = world.add(f"{receiver.url}/hang", max_attempts=1)
    good = [world.add(f"{receiver.url}/good/{n}")[0] for n in range(5)]

    for delivery_id in good:
        assert world.settled(delivery_id, "delivered").last_error is None
    assert "ended by SIGSEGV (attempt 2 of 2)" in world.settled(crash, "failed").last_error
    assert "needed more than 1,000,000,000 bytes" in world.settled(eat, "failed").last_error
    assert "ignored its deadline and was ended" in world.settled(hang, "failed", timeout=40).last_error
    assert worker.process.poll() is None


@pytest.mark.flips("queue_isolated_kinds")
def test_a_killed_process_is_tried_again_at_once(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any, isolated: dict[str, str]
) -> None:
    worker = workers.start(**isolated, DELIVERY_TIMEOUT="4900")
    slow = receiver.on("/slow", lambda handler, n: answers(200, after=4.5 if n == 1 else 0)(handler, n))
    delivery_id, job_id = world.add(slow)
    eventually(lambda: receiver.requests)

    os.kill(_horse(worker.pid), signal.SIGKILL)

    assert world.settled(delivery_id, "delivered", timeout=8).last_error is None
    assert world.job(job_id).attempt == 2


def test_a_killed_worker_leaves_no_process_behind(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any, isolated: dict[str, str]
) -> None:
    worker = workers.start(**isolated, DELIVERY_TIMEOUT="4900")
    world.add(receiver.on("/slow", answers(200, after=4.5)))
    eventually(lambda: receiver.requests)
    family = psutil.Process(worker.pid).children(recursive=True)

    worker.kill()

    eventually(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family), timeout=5)


def _horse(pid: int) -> int:
    """The process that has no children of its own, below the fork server."""
    return next(
        child.pid
        for child in psutil.Process(pid).children(recursive=True)
        if child.ppid() != pid and not child.children()
    )
