"""Plain RQ jobs of somebody else's functions on our queue: nothing but the worker's books protects them (F26)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rig.chaos import QUEUE_KEY, STARTED_KEY, Chaos
from rig.processes import FAULTS
from rig.waiting import wait_for
from rq import Queue

JOBS = int(os.environ.get("CHAOS_RQ_JOBS", "20000"))
THEIRS = """
import os

out = os.open(os.environ["THEIRS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(number):
    os.write(out, b"%d\\n" % number)
"""


@pytest.mark.chaos
def test_f26_twenty_thousand_trivial_jobs_run_once_each(chaos: Chaos, tmp_path: Path) -> None:
    """With heartbeats, and so looks for strays, among the ends of thousands of jobs a second. A few in ten thousand
    were put back after their end, and ran again."""
    (tmp_path / "theirs.py").write_text(THEIRS)
    log = tmp_path / "ran"
    with chaos.valkey.client() as redis:
        queue = Queue("webhook-processor", connection=redis, serializer="json")
        for first in range(0, JOBS, 1000):
            numbers = range(first, min(first + 1000, JOBS))
            queue.enqueue_many([Queue.prepare_data("theirs.note", args=(number,), result_ttl=60) for number in numbers])

        with chaos.bound("F26", 100) as bound:
            for _ in range(2):
                chaos.apps.worker(
                    QUEUE_CONCURRENCY="10", THEIRS_LOG=str(log), PYTHONPATH=f"{FAULTS}:{tmp_path}:{Path.cwd()}"
                )
            wait_for(
                lambda: redis.llen(QUEUE_KEY) == 0 and redis.zcard(STARTED_KEY) == 0,
                timeout=bound.left,
                what=lambda: f"{redis.llen(QUEUE_KEY)} jobs wait",
            )
            ran = sorted(map(int, log.read_text().split()))
            chaos.note(f"{JOBS} jobs")

    assert len(ran) == JOBS, f"{len(ran) - JOBS} ran twice"
    assert ran == list(range(JOBS))
