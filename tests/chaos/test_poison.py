"""Jobs that fail by exception, kill the process that runs them, or ignore their deadline (F15, F16)."""

from __future__ import annotations

import threading

import pytest
from rig.chaos import Chaos
from rig.processes import SHORT_LEASE, needs_setting
from rig.waiting import wait_for

ISOLATED = {"QUEUE_ISOLATED_KINDS": "delivery", "QUEUE_CONCURRENCY": "2"}


def test_f15_a_job_that_always_raises_is_dead_after_its_attempts(chaos: Chaos) -> None:
    chaos.up(workers=1, QUEUE_CONCURRENCY="2")

    with chaos.bound("F15", 30) as bound:
        poison = [
            chaos.client.deliver("http://127.0.0.1:9/", payload={"fault": "raise"}, max_attempts=3) for _ in "123"
        ]
        accepted = chaos.client.deliver_many(20, chaos.receiver.url)
        chaos.assert_exactly_once([*poison, *accepted], bound, failed=poison)

    assert [row.attempt for row in chaos.query("SELECT attempt FROM jobs WHERE state = 'dead'")] == [3, 3, 3]


@pytest.mark.chaos
@pytest.mark.parametrize("fault", ["segfault", "killed"])
def test_f15_a_job_that_kills_its_worker_is_dead_after_its_attempts(chaos: Chaos, fault: str) -> None:
    """In threads it takes the whole worker along, each time; whoever runs the workers starts another."""
    chaos.up(workers=1, **SHORT_LEASE)

    with chaos.bound("F15", 90) as bound, ReplacedWhenTheyDie(chaos):
        poison = [chaos.client.deliver(chaos.receiver.url, payload={"fault": fault}, max_attempts=3)]
        accepted = chaos.client.deliver_many(20, chaos.receiver.url)
        chaos.assert_exactly_once([*poison, *accepted], bound, failed=poison)

    # The last attempt's worker as well.
    assert sum(not app.running for app in chaos.apps.started) == 3


@needs_setting("queue_isolated_kinds")
@pytest.mark.parametrize(
    "fault",
    ["segfault", pytest.param("killed", marks=pytest.mark.chaos), pytest.param("memory", marks=pytest.mark.chaos)],
)
def test_f15_a_job_that_kills_its_own_process_only_is_dead_after_its_attempts(chaos: Chaos, fault: str) -> None:
    chaos.up(**ISOLATED, QUEUE_ISOLATED_MEMORY=str(512 * 2**20))

    with chaos.bound("F15", 40) as bound:
        poison = [chaos.client.deliver(chaos.receiver.url, payload={"fault": fault}, max_attempts=3)]
        accepted = chaos.client.deliver_many(10, chaos.receiver.url)
        found = chaos.assert_exactly_once([*poison, *accepted], bound, failed=poison)

    # No lease had to end, and no worker died.
    assert found.repeated == 0
    assert [row.attempt for row in chaos.query("SELECT attempt FROM jobs WHERE state = 'dead'")] == [3]


@pytest.mark.chaos
def test_f16_a_job_that_ignores_its_deadline_ends_its_worker_and_no_other_job(chaos: Chaos) -> None:
    """No thread can be killed. A minute after the lease the worker gives up: exit code 70, its other jobs done."""
    chaos.up(workers=1, QUEUE_CONCURRENCY="2", **SHORT_LEASE)
    [worker] = chaos.apps.running("worker")

    with chaos.bound("F16", 100) as bound:
        deaf = [chaos.client.deliver(chaos.receiver.url, payload={"fault": "deaf"}, max_attempts=1)]
        accepted = chaos.client.deliver_many(20, chaos.receiver.url)
        # The other slot goes on, and the lease gives the deaf job up long before the worker ends.
        chaos.assert_exactly_once([*deaf, *accepted], bound, failed=deaf)
        assert worker.running
        assert worker.wait(timeout=bound.left) == 70
        chaos.apps.again(worker)
        accepted.append(chaos.client.deliver(chaos.receiver.url))
        chaos.assert_exactly_once([*deaf, *accepted], bound, failed=deaf)


@needs_setting("queue_isolated_kinds")
def test_f16_a_job_that_ignores_its_deadline_in_a_process_of_its_own_is_killed(chaos: Chaos) -> None:
    chaos.up(**{**ISOLATED, **SHORT_LEASE, "QUEUE_LEASE": "8000"})
    [worker] = chaos.apps.running("worker")

    with chaos.bound("F16", 30) as bound:
        deaf = [chaos.client.deliver(chaos.receiver.url, payload={"fault": "deaf"}, max_attempts=1)]
        accepted = chaos.client.deliver_many(5, chaos.receiver.url)
        found = chaos.assert_exactly_once([*deaf, *accepted], bound, failed=deaf)
        wait_for(lambda: not worker.job_processes(), timeout=bound.left, what="the end of the deaf job's process")

    assert found.repeated == 0


class ReplacedWhenTheyDie:
    """For as long as the block lasts, a worker that ended is followed by a new one."""

    def __init__(self, chaos: Chaos) -> None:
        self._chaos = chaos
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            for app in list(self._chaos.apps.died()):
                app.expected_end = True
                self._chaos.apps.again(app)
