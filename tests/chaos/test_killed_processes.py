"""Workers that are killed, told to stop, or stopped too late (F1 to F6)."""

from __future__ import annotations

import random
import signal
import threading
import time

import pytest
from rig.chaos import INTERMEDIATE_KEY, LOCK_KEY, QUEUE_KEY, STARTED_KEY, Chaos
from rig.client import Load
from rig.processes import SHORT_LEASE, needs_setting
from rig.receiver import held_until, in_turn, reply
from rig.waiting import wait_for


def test_f1_the_jobs_of_a_killed_worker_are_taken_over(chaos: Chaos) -> None:
    chaos.up(workers=2, QUEUE_CONCURRENCY="5", **SHORT_LEASE)
    killed = threading.Event()
    held = chaos.receiver.on("/held", in_turn(held_until(killed, reply(200)), reply(200)))
    accepted = chaos.client.deliver_many(10, held)
    chaos.wait_for_calls(10)

    with chaos.bound("F1", 30) as bound:
        chaos.apps.running("worker")[0].kill()
        killed.set()
        found = chaos.assert_exactly_once(accepted, bound)

    # All slots of both were busy, five each.
    assert found.repeated >= 5


def test_f1_jobs_that_a_killed_worker_had_only_taken_are_found_while_rq_is_locked(chaos: Chaos) -> None:
    """RQ's maintenance takes a lock for 15 minutes and gives it back when it is done. A worker that was killed in
    between left the lock, and with it every job that it or a later victim had taken and not claimed yet."""
    chaos.up(workers=0)
    accepted = chaos.client.deliver_many(5, chaos.receiver.url)
    with chaos.valkey.client() as redis:
        wait_for(lambda: redis.llen(QUEUE_KEY) == 5, what="announced jobs")
        taken = [name.decode() for name in redis.lpop(QUEUE_KEY, 5)]
        redis.zadd(STARTED_KEY, {f"{name}:taken": time.time() - 1 for name in taken})
        redis.set(LOCK_KEY, 1, ex=899)

    with chaos.bound("F1", 20) as bound:
        chaos.apps.worker()
        chaos.assert_exactly_once(accepted, bound)


@pytest.mark.chaos
def test_f1_a_worker_killed_at_any_moment_loses_no_job(chaos: Chaos, seed: int) -> None:
    """One that dies between the pop and the claim leaves jobs that Redis takes for running, until their heartbeat is
    missed for more than a minute."""
    chaos.up(workers=1, QUEUE_CONCURRENCY="4", **SHORT_LEASE)
    chance = random.Random(seed)
    with chaos.bound("F1", 150) as bound:
        with Load(chaos.client, chaos.receiver.url, threads=3) as load:
            for _ in range(6):
                time.sleep(chance.uniform(0.0, 1.0))  # the moment of the kill is what is varied
                [victim] = chaos.apps.running("worker")
                victim.kill()
                chaos.apps.again(victim)
        chaos.assert_exactly_once(load.accepted, bound)


@needs_setting("queue_isolated_kinds")
@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSEGV, marks=pytest.mark.chaos)])
def test_f2_a_killed_process_of_one_job_costs_one_attempt(chaos: Chaos, how: signal.Signals) -> None:
    chaos.up(QUEUE_ISOLATED_KINDS="delivery", QUEUE_CONCURRENCY="4")
    killed = threading.Event()
    held = chaos.receiver.on("/held", in_turn(held_until(killed, reply(200)), reply(200)))
    [worker] = chaos.apps.running("worker")
    accepted = chaos.client.deliver_many(3, chaos.receiver.url)
    accepted.append(chaos.client.deliver(held))
    wait_for(lambda: chaos.receiver.count() == 4 and len(worker.job_processes()) == 1, what="the process of one job")

    with chaos.bound("F2", 15) as bound:
        worker.job_processes()[0].send_signal(how)
        killed.set()
        found = chaos.assert_exactly_once(accepted, bound)

    # Long before the lease of 30 s, by the same worker.
    assert found.repeated == 1
    assert worker.running


@pytest.mark.chaos
def test_f3_twenty_restarts_under_load_delay_no_job(chaos: Chaos, seed: int) -> None:
    """A signal between the pop and the registration of a job: RQ's own worker loses it for a minute (rq#2236)."""
    chaos.up(workers=1, QUEUE_CONCURRENCY="4")
    chance = random.Random(seed)
    # Slower than one worker, which is away most of the time here.
    with chaos.valkey.client() as redis, Load(chaos.client, chaos.receiver.url, threads=2, pause=0.1) as load:
        for _ in range(20):
            [worker] = chaos.apps.running("worker")
            time.sleep(chance.uniform(0.0, 0.3))  # the moment of the signal is what is varied
            worker.terminate()
            assert worker.wait() == 0
            assert redis.llen(INTERMEDIATE_KEY) == 0
            chaos.apps.again(worker)
    with chaos.bound("F3", 40) as bound:
        found = chaos.assert_exactly_once(load.accepted, bound)
    assert found.repeated == 0


def test_f4_a_worker_told_to_stop_ends_its_jobs_and_takes_no_other(chaos: Chaos) -> None:
    chaos.up(QUEUE_CONCURRENCY="4")
    slow = chaos.receiver.on("/slow", reply(200, after=1.5))
    [worker] = chaos.apps.running("worker")
    under_way = chaos.client.deliver_many(4, slow)
    chaos.wait_for_calls(4)

    with chaos.bound("F4", 20) as bound:
        worker.terminate()
        waiting = chaos.client.deliver_many(4, chaos.receiver.url)
        assert worker.wait() == 0
        assert set(chaos.receiver.calls()) == set(under_way)
        with chaos.valkey.client() as redis:
            assert redis.llen(QUEUE_KEY) == len(waiting)
        chaos.apps.again(worker)
        found = chaos.assert_exactly_once([*under_way, *waiting], bound)

    assert found.repeated == 0


@pytest.mark.chaos
def test_f5_a_job_longer_than_the_stop_timeout_is_resumed(chaos: Chaos) -> None:
    chaos.up(workers=1, **SHORT_LEASE)
    killed = threading.Event()
    held = chaos.receiver.on("/held", in_turn(held_until(killed, reply(200)), reply(200)))
    [worker] = chaos.apps.running("worker")
    accepted = chaos.client.deliver_many(5, held)
    chaos.wait_for_calls(5)

    with chaos.bound("F5", 30) as bound:
        worker.terminate()
        with pytest.raises(Exception, match="timed out"):
            worker.wait(timeout=1.0)
        worker.kill()
        killed.set()
        chaos.apps.again(worker)
        found = chaos.assert_exactly_once(accepted, bound)

    assert found.repeated >= 5


def test_f6_a_second_signal_hands_the_jobs_over(chaos: Chaos) -> None:
    """As documented: the second, more than a second after the first, ends the worker without its jobs, and takes no
    attempt from them."""
    chaos.up(workers=1)
    slow = chaos.receiver.on("/slow", in_turn(reply(200, after=12.0), reply(200)))
    [worker] = chaos.apps.running("worker")
    accepted = chaos.client.deliver_many(5, slow)
    chaos.wait_for_calls(5)
    chaos.apps.worker()

    with chaos.bound("F6", 15) as bound:
        worker.terminate()
        with pytest.raises(Exception, match="timed out"):
            worker.wait(timeout=3.0)
        worker.terminate()
        assert worker.wait(timeout=5.0) == 0
        found = chaos.assert_exactly_once(accepted, bound)

    assert found.repeated == 5
    assert [row.attempt for row in chaos.query("SELECT attempt FROM jobs")] == [1] * 5
