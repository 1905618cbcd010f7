"""The policies that the stack really gets, played against loads: nobody waits without bound, nothing flaps, and one
job wakes a worker."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from infra.simulation.load import Load, parse
from infra.simulation.model import ScaledService
from infra.simulation.simulator import simulate
from infra.simulation.work import Assumptions

Scaled = Callable[..., dict[str, ScaledService]]
HOUR = 3600.0
TO_NONE = {"worker": {"replicas": 0, "scaling": {"max_replicas": 20}}}
ASSUMED = Assumptions()
SLOTS_PER_SECOND = ASSUMED.concurrency / ASSUMED.job
"""Jobs a second that one worker can do."""


def wobbling(seed: int, *, highest: float) -> Load:
    """A load that jumps to another rate every few minutes, never above `highest`."""
    generator = random.Random(seed)
    points: list[tuple[float, float]] = [(0.0, generator.uniform(0, highest))]
    while points[-1][0] < 3 * HOUR:
        points.append((points[-1][0] + generator.uniform(120, 1800), generator.uniform(0, highest)))

    def rate(t: float) -> float:
        return next(value for start, value in reversed(points) if start <= t)

    return Load(name=f"seed {seed}", rate=rate)


def test_the_policies_are_read_as_they_are(scaled: Scaled) -> None:
    services = scaled()
    worker, api = services["worker"], services["api"]
    assert (worker.min_capacity, worker.max_capacity, worker.queue) == (2, 20, "webhook-processor")
    assert (worker.on_demand_base, worker.spot, worker.arm) == (2, True, True)
    assert {alarm.name for policy in worker.step_scaling for alarm in policy.alarms} == {
        "worker-scaling-backlog-alarm",
        "worker-scaling-wait-alarm",
        "worker-scaling-short-alarm",
    }
    assert {policy.metric: policy.target_value for policy in api.target_tracking} == {
        "CPUUtilization": 70,
        "MemoryUtilization": 80,
        "RequestCountPerTarget": 6000,
    }
    assert [alarm.threshold for policy in api.step_scaling for alarm in policy.alarms] == [0.5]


def test_a_threshold_of_the_settings_reaches_the_simulation(scaled: Scaled) -> None:
    eager = scaled(worker={"replicas": 2, "scaling": {"max_replicas": 20, "backlog_high": 20}})["worker"]
    load = parse("steady:11", HOUR)  # one job a second more than the two workers can do
    early, late = (simulate(one, load, duration=HOUR) for one in (eager, scaled()["worker"]))
    assert early.activities[0].at < late.activities[0].at
    assert early.longest_wait < late.longest_wait


@pytest.mark.parametrize("seed", range(8))
def test_a_wait_is_bounded_whatever_the_load(scaled: Scaled, seed: int) -> None:
    """Within what the most workers can do, a jump of the load costs its minutes until workers are there, no more."""
    service = scaled(**(TO_NONE if seed % 2 else {}))["worker"]
    highest = 0.8 * service.max_capacity * SLOTS_PER_SECOND
    result = simulate(service, wobbling(seed, highest=highest), duration=3 * HOUR)
    # Until seen 2 minutes, started 1, and for an empty floor once more for the rest; then the backlog is worked off.
    assert result.longest_wait < (480 if seed % 2 else 300)
    assert all(service.min_capacity <= sample.desired <= service.max_capacity for sample in result.samples)


@pytest.mark.parametrize("workers", [0.5, 1.9, 2.4, 3.5, 5.6, 9.0, 15.0])
@pytest.mark.parametrize("floor", [0, 2])
def test_a_steady_load_does_not_flap(scaled: Scaled, workers: float, floor: int) -> None:
    """However full the workers get: scaling finds a number and stays there. `workers` is what the load fills."""
    service = scaled(**(TO_NONE if floor == 0 else {}))["worker"]
    load = parse(f"steady:{workers * SLOTS_PER_SECOND}", 4 * HOUR)
    result = simulate(service, load, duration=4 * HOUR)
    assert result.turns <= 1
    assert all(change.at < 2.5 * HOUR for change in result.activities)
    assert result.samples[-1].waiting <= 100
    assert workers <= result.samples[-1].running <= max(workers / 0.8 + 1.5, service.min_capacity)


@pytest.mark.parametrize("seed", range(6))
def test_a_changing_load_turns_scaling_no_more_often_than_it_changes(scaled: Scaled, seed: int) -> None:
    service = scaled()["worker"]
    load = wobbling(seed, highest=0.7 * service.max_capacity * SLOTS_PER_SECOND)
    result = simulate(service, load, duration=3 * HOUR)
    jumps = sum(1 for t in range(1, int(3 * HOUR)) if load.rate(t) != load.rate(t - 1))
    assert result.turns <= jumps + 1


def test_one_job_wakes_a_worker_which_then_goes_again(scaled: Scaled) -> None:
    service = scaled(**TO_NONE)["worker"]
    result = simulate(service, parse("one", HOUR), duration=HOUR)
    assert result.waits, "the job was done"
    assert result.longest_wait < 300
    assert [(change.before, change.after) for change in result.activities] == [(0, 1), (1, 0)]
    assert result.samples[-1].running == 0
    assert result.cost < 0.02


@pytest.mark.parametrize("at", range(300, 361, 7))
def test_it_wakes_at_whatever_second_the_job_comes(scaled: Scaled, at: int) -> None:
    service = scaled(**TO_NONE)["worker"]
    result = simulate(service, Load(name="one", rate=lambda _: 0.0, single=(at,)), duration=HOUR)
    assert len(result.waits) == 1
    assert result.longest_wait < 300
    assert max(sample.desired for sample in result.samples) == 1


@pytest.mark.parametrize("start_up", [30.0, 60.0, 120.0])
def test_one_job_wakes_one_worker_however_slowly_it_starts(scaled: Scaled, start_up: float) -> None:
    service = scaled(**TO_NONE)["worker"]
    result = simulate(service, parse("one", HOUR), duration=HOUR, assumptions=replace(ASSUMED, start_up=start_up))
    assert max(sample.desired for sample in result.samples) == 1


def test_a_few_long_jobs_keep_their_worker(scaled: Scaled) -> None:
    """The last worker stays for every single job under way, though nothing waits."""
    service = scaled(**TO_NONE)["worker"]
    result = simulate(service, parse("one", 2 * HOUR), duration=2 * HOUR, assumptions=replace(ASSUMED, job=HOUR))
    gone = next(change for change in result.activities if change.after == 0)
    assert gone.at > HOUR


def test_without_figures_nobody_is_removed(scaled: Scaled) -> None:
    """The API, which publishes them, is down: what runs goes on."""
    service = scaled()["worker"]
    load = parse("spike:1-100", 2 * HOUR)
    spike_over = 0.3 * 2 * HOUR
    result = simulate(service, load, duration=2 * HOUR, silent=lambda now: now > spike_over + 120)
    assert all(change.at <= spike_over + 180 for change in result.activities)
    assert result.samples[-1].running == service.max_capacity


def test_a_missing_figure_starts_nobody(scaled: Scaled) -> None:
    service = scaled(**TO_NONE)["worker"]
    result = simulate(service, parse("steady:0", HOUR), duration=HOUR, silent=lambda _: True)
    assert not result.activities


def test_the_api_follows_its_requests(scaled: Scaled) -> None:
    service = scaled()["api"]
    result = simulate(service, parse("day:50-700", 6 * HOUR), duration=6 * HOUR)
    # 100 requests a second fill one task. It aims at 70 %, and adds up to two too many while new ones start.
    needed = [sample.rate / 70 for sample in result.samples]
    assert all(s.running >= n * 0.7 for s, n in zip(result.samples, needed, strict=True))
    assert all(s.running <= max(n, service.min_capacity) + 3.5 for s, n in zip(result.samples, needed, strict=True))
    assert result.samples[-1].running == service.min_capacity
    assert result.longest_wait < 5


@pytest.mark.parametrize("rate", [100, 250, 420, 600, 850])
def test_the_api_does_not_flap(scaled: Scaled, rate: int) -> None:
    result = simulate(scaled()["api"], parse(f"steady:{rate}", 6 * HOUR), duration=6 * HOUR)
    assert result.turns <= 1
    assert all(change.at < 2 * HOUR for change in result.activities)


def test_the_api_does_not_flap_under_a_slow_rise(scaled: Scaled) -> None:
    """With a cooldown of a minute it added replicas until the first of them showed in the average, and removed them a
    quarter of an hour later: 12 turns in six hours."""
    result = simulate(scaled()["api"], parse("ramp:50-700", 6 * HOUR), duration=6 * HOUR)
    assert result.turns == 0
    assert result.longest_wait < 1


def test_what_the_most_tasks_cannot_do_shows(scaled: Scaled) -> None:
    service = scaled()["worker"]
    result = simulate(service, parse("steady:200", 2 * HOUR), duration=2 * HOUR)
    assert result.samples[-1].running == service.max_capacity
    assert result.samples[-1].waiting > 100_000
    assert result.longest_wait > 1000


def test_cost_is_that_of_the_tasks(scaled: Scaled) -> None:
    """Two workers of 1 vCPU and 2 GiB on ARM for an hour, by the list prices."""
    result = simulate(scaled()["worker"], parse("steady:0", HOUR), duration=HOUR)
    assert result.cost == pytest.approx(2 * (0.03238 + 2 * 0.00356))
