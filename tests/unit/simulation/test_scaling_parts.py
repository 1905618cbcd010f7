"""The simulation's parts against the rules of CloudWatch and Application Auto Scaling."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.simulation.autoscaler import Autoscaler
from infra.simulation.cloudwatch import IN_ALARM, AlarmState, Metrics
from infra.simulation.load import LoadError, parse
from infra.simulation.metric_math import MetricMathError, evaluate
from infra.simulation.model import (
    Alarm,
    AlarmMetric,
    ScaledService,
    StepAdjustment,
    StepScalingPolicy,
    TargetTrackingPolicy,
)
from infra.simulation.plot import plot
from infra.simulation.report import clock, report
from infra.simulation.simulator import simulate
from infra.simulation.tasks import Fleet

DEPTH = AlarmMetric(metrics={"value": "QueueDepth"}, expression="value")


def alarm(**changed: Any) -> Alarm:
    plain = Alarm(
        name="deep",
        metric=DEPTH,
        comparison_operator="GreaterThanThreshold",
        threshold=100,
        evaluation_periods=1,
        datapoints_to_alarm=1,
        treat_missing_data="missing",
    )
    return replace(plain, **changed)


def policy(*steps: StepAdjustment, alarms: tuple[Alarm, ...] = (), **changed: Any) -> StepScalingPolicy:
    plain = StepScalingPolicy(
        name="out",
        adjustment_type="ChangeInCapacity",
        step_adjustments=steps,
        cooldown=60,
        min_adjustment_magnitude=0,
        alarms=alarms,
    )
    return replace(plain, **changed)


def service(
    *, step_scaling: tuple[StepScalingPolicy, ...] = (), target_tracking: tuple[TargetTrackingPolicy, ...] = ()
) -> ScaledService:
    return ScaledService(
        name="worker",
        min_capacity=1,
        max_capacity=20,
        target_tracking=target_tracking,
        step_scaling=step_scaling,
        vcpu=1,
        memory_gib=2,
        arm=True,
        on_demand_base=1,
        spot=True,
        queue="jobs",
    )


def points(*values: float | None, metric: str = "QueueDepth") -> Metrics:
    metrics = Metrics()
    for minute, value in enumerate(values):
        if value is not None:
            metrics.put(metric, minute, value)
    return metrics


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a", 2),
        ("a + b * 10", 32),
        ("IF(a < b, a, b)", 2),
        ("IF(a > 1 && b > 5, 1, 0)", 0),
        ("IF(a > 1 AND b > 1, 1, 0)", 1),
        ("IF(b >= 3, IF(a == 2, -a, 0), 9)", -2),
        ("a / (b - 3)", None),
        ("FILL(gone, 7)", 7),
        ("gone + 1", None),
        ("CEIL(a / b)", 1),
    ],
)
def test_metric_math(expression: str, expected: float | None) -> None:
    assert evaluate(expression, {"a": 2, "b": 3, "gone": None}) == expected


@pytest.mark.parametrize("expression", ["ANOMALY_DETECTION_BAND(a)", "a b", "c", "a if b else c", "RATE(a)"])
def test_unknown_metric_math_is_refused(expression: str) -> None:
    with pytest.raises(MetricMathError):
        evaluate(expression, {"a": 1.0, "b": 1.0})


@pytest.mark.parametrize(
    ("missing", "values", "alarmed"),
    [
        ("missing", [200, 200, 200], True),
        ("missing", [200, 200, 50], False),
        ("missing", [None, None, None], False),
        ("notBreaching", [200, None, 200], False),
        ("breaching", [200, None, 200], True),
        ("breaching", [None, None, None], True),
        ("ignore", [None, None, None], False),
    ],
)
def test_missing_data(missing: Any, values: list[float | None], alarmed: bool) -> None:
    state = AlarmState(alarm(evaluation_periods=3, datapoints_to_alarm=3, treat_missing_data=missing))
    assert state.evaluate(points(*values), 2) is alarmed


def test_ignored_gaps_keep_the_state() -> None:
    state = AlarmState(alarm(treat_missing_data="ignore"))
    metrics = points(200, None, None, 50, None)
    assert [state.evaluate(metrics, minute) for minute in range(5)] == [True, True, True, False, False]


def test_some_of_several_datapoints() -> None:
    state = AlarmState(alarm(evaluation_periods=3, datapoints_to_alarm=2))
    assert state.evaluate(points(200, 50, 200), 2)
    assert not AlarmState(alarm(evaluation_periods=3, datapoints_to_alarm=2)).evaluate(points(200, 50, 50), 2)


def test_an_alarm_needs_its_periods_first() -> None:
    state = AlarmState(alarm(evaluation_periods=3, datapoints_to_alarm=3))
    assert not state.evaluate(points(200, 200), 1)
    assert state.state != IN_ALARM


STEPS = (
    StepAdjustment(lower_bound=0, upper_bound=300, scaling_adjustment=1),
    StepAdjustment(lower_bound=300, upper_bound=None, scaling_adjustment=5),
)


def test_steps_are_chosen_by_the_distance_to_the_threshold() -> None:
    for depth, desired in ((101, 2), (399, 2), (400, 6), (5000, 6)):
        scaler = Autoscaler(service(step_scaling=(policy(*STEPS, alarms=(alarm(),)),)))
        decision = scaler.decide(points(depth), 0, now=60, current=1)
        assert decision is not None
        assert decision.desired == desired


def test_a_cooldown_counts_what_was_added() -> None:
    """+1 at first, then a step of +5 within the cooldown: five in all, not six (user guide, step scaling)."""
    scaler = Autoscaler(service(step_scaling=(policy(*STEPS, alarms=(alarm(),), cooldown=300),)))
    metrics = points(150, 150, 900, 900)
    found = []
    current = 1
    for minute in range(4):
        decision = scaler.decide(metrics, minute, now=60 * (minute + 1), current=current)
        current = decision.desired if decision else current
        found.append(current)
    assert found == [2, 2, 6, 6]


def test_the_largest_demand_wins_and_limits_hold() -> None:
    few = policy(
        StepAdjustment(lower_bound=0, upper_bound=None, scaling_adjustment=2), alarms=(alarm(name="a"),), name="few"
    )
    many = policy(
        StepAdjustment(lower_bound=0, upper_bound=None, scaling_adjustment=50), alarms=(alarm(name="b"),), name="many"
    )
    decision = Autoscaler(service(step_scaling=(few, many))).decide(points(200), 0, now=60, current=3)
    assert decision is not None
    assert (decision.desired, decision.cause) == (20, "b")


def test_scaling_in_gives_way_and_cools_down() -> None:
    shrink = policy(
        StepAdjustment(lower_bound=None, upper_bound=0, scaling_adjustment=-1),
        alarms=(alarm(name="short", comparison_operator="LessThanThreshold", threshold=10),),
        cooldown=300,
        name="in",
    )
    scaler = Autoscaler(service(step_scaling=(shrink,)))
    found, current = [], 5
    for minute in range(12):
        decision = scaler.decide(points(*[0] * 12), minute, now=60.0 * (minute + 1), current=current)
        current = decision.desired if decision else current
        found.append(current)
    assert found == [4] * 5 + [3] * 5 + [2] * 2
    busy = policy(
        StepAdjustment(lower_bound=0, upper_bound=None, scaling_adjustment=1), alarms=(alarm(threshold=-1),), name="out"
    )
    decision = Autoscaler(service(step_scaling=(shrink, busy))).decide(points(0), 0, now=60, current=5)
    assert decision is not None
    assert decision.desired == 6


@pytest.mark.parametrize(
    ("adjustment", "change", "least", "desired"),
    [
        ("ExactCapacity", 7, 0, 7),
        ("PercentChangeInCapacity", 50, 0, 15),
        ("PercentChangeInCapacity", 3, 0, 11),
        ("PercentChangeInCapacity", 3, 4, 14),
    ],
)
def test_other_adjustments(adjustment: str, change: int, least: int, desired: int) -> None:
    out = policy(
        StepAdjustment(lower_bound=0, upper_bound=None, scaling_adjustment=change),
        alarms=(alarm(),),
        adjustment_type=adjustment,
        min_adjustment_magnitude=least,
    )
    current = 3 if adjustment == "ExactCapacity" else 10
    decision = Autoscaler(service(step_scaling=(out,))).decide(points(200), 0, now=60, current=current)
    assert decision is not None
    assert decision.desired == desired


def tracking(metric: str = "CPUUtilization", **changed: Any) -> TargetTrackingPolicy:
    plain = TargetTrackingPolicy(
        name=metric, metric=metric, target_value=70, scale_out_cooldown=60, scale_in_cooldown=300, scale_in=True
    )
    return replace(plain, **changed)


def test_tracking_needs_three_high_minutes_and_fifteen_low_ones() -> None:
    def first(value: float, current: int) -> tuple[int, int] | None:
        scaler = Autoscaler(service(target_tracking=(tracking(),)))
        metrics = points(*[value] * 20, metric="CPUUtilization")
        for minute in range(20):
            decision = scaler.decide(metrics, minute, now=60.0 * (minute + 1), current=current)
            if decision:
                return minute + 1, decision.desired
        return None

    assert first(95, 4) == (3, 6)
    assert first(35, 4) == (15, 2)
    assert first(65, 4) is None  # within a tenth below the target


def test_tracking_scales_in_only_when_all_agree() -> None:
    metrics = points(*[10] * 20, metric="CPUUtilization")
    for minute in range(20):
        metrics.put("MemoryUtilization", minute, 66)
    both = Autoscaler(service(target_tracking=(tracking(), tracking("MemoryUtilization"))))
    assert not any(both.decide(metrics, minute, now=60.0 * minute, current=4) for minute in range(20))
    adding_only = tracking("MemoryUtilization", scale_in=False)
    other = Autoscaler(service(target_tracking=(tracking(), adding_only)))
    assert any(other.decide(metrics, minute, now=60.0 * minute, current=4) for minute in range(20))


def test_tracking_without_data_does_nothing() -> None:
    scaler = Autoscaler(service(target_tracking=(tracking(),)))
    assert not any(scaler.decide(Metrics(), minute, now=60.0 * minute, current=4) for minute in range(30))


def test_a_busy_task_is_not_taken_away_and_costs_on() -> None:
    fleet = Fleet(service(), start_up=60)
    fleet.start_with(3)
    fleet.tasks[0].busy = 1
    fleet.set_desired_count(0, 100)
    assert len(fleet.tasks) == 1
    fleet.tasks[0].busy = 0
    fleet.stop_drained(200)
    assert not fleet.tasks
    hour = 0.03238 + 2 * 0.00356
    assert fleet.cost == pytest.approx(hour / 3600 * (100 * (1 + 2 * 0.3) + 100))


def test_tasks_that_still_start_go_first() -> None:
    fleet = Fleet(service(), start_up=60)
    fleet.start_with(2)
    started = fleet.set_desired_count(4, 10)
    assert [task.ready_at for task in started] == [70, 70]
    fleet.set_desired_count(2, 20)
    assert [task.ready_at for task in fleet.tasks] == [0, 0]


@pytest.mark.parametrize(
    ("text", "at", "rate"),
    [
        ("steady:2.5", 100, 2.5),
        ("ramp:0-10", 500, 5),
        ("spike:1-9", 250, 9),
        ("spike:1-9", 300, 1),
        ("day:2-6", 500, 6),
        ("one", 300, 0),
    ],
)
def test_loads(text: str, at: float, rate: float) -> None:
    assert parse(text, 1000).rate(at) == pytest.approx(rate)


@pytest.mark.parametrize(
    "text", ["", "steady", "steady:x", "steady:-1", "ramp:1", "spike:1-2-3", "wave:1-2", "steady:inf"]
)
def test_a_load_that_cannot_be_read_says_what_can(text: str) -> None:
    with pytest.raises(LoadError, match="spike:BASE-PEAK"):
        parse(text, 1000)


def test_a_load_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "load.csv"
    file.write_text("minute,rate\n# night\n1,5\n10, 2.5\n")
    load = parse(str(file), 3600)
    assert [load.rate(t) for t in (0, 60, 599, 600, 9999)] == [0, 5, 5, 2.5, 2.5]
    for wrong in ("1,x", "5,1\n4,1", "1,-2", "# nothing"):
        file.write_text(wrong)
        with pytest.raises(LoadError, match=r"load\.csv"):
            parse(str(file), 3600)
    with pytest.raises(LoadError, match="No such file"):
        parse(str(tmp_path / "none.csv"), 3600)


def test_the_text_and_the_plot_hold_what_matters() -> None:
    out = policy(*STEPS, alarms=(alarm(),))
    result = simulate(replace(service(step_scaling=(out,)), name='"a<b>"'), parse("spike:1-50", 7200), duration=7200)
    text = report(result)
    assert "1 to 20 tasks, 1 policies" in text
    assert "USD a month at this rate" in text
    assert text.count("\n0:") + text.count("\n1:") + text.count("\n2:") <= 30
    drawing = ET.fromstring(plot(result))
    labels = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert {"Tasks", "wanted", "running", "2:00"} <= set(labels)
    assert len(list(drawing.iter("{http://www.w3.org/2000/svg}path"))) == 5
    assert "nan" not in plot(result)


def test_a_plot_of_nothing_is_a_plot() -> None:
    result = simulate(replace(service(), min_capacity=0, max_capacity=0), parse("steady:0", 3600), duration=3600)
    ET.fromstring(plot(result))


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (3660, "1:01"), (61, "0:01:01"), (90_000, "25:00")])
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown
