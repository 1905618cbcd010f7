"""The settings' thresholds as the exact policies and alarms of Application Auto Scaling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from infra.aws import queue_metrics
from infra.aws.scaling_policies import NO_WORKER_WAIT, WORKERS_WAIT, spare
from infra.engine.plan import Plan

Services = Callable[..., Plan]
Inputs = Callable[..., Any]


def api(**scaling: Any) -> dict[str, Any]:
    return {"api": {"replicas": 2, "scaling": {"max_replicas": 10, **scaling}}}


def worker(replicas: int = 1, **scaling: Any) -> dict[str, Any]:
    return {"worker": {"replicas": replicas, "scaling": {"max_replicas": 20, **scaling}}}


def tracked(policy: Mapping[str, Any]) -> Mapping[str, Any]:
    assert policy["policyType"] == "TargetTrackingScaling"
    configuration: Mapping[str, Any] = policy["targetTrackingScalingPolicyConfiguration"]
    return configuration


def steps(policy: Mapping[str, Any]) -> list[tuple[str | None, str | None, int]]:
    assert policy["policyType"] == "StepScaling"
    configuration = policy["stepScalingPolicyConfiguration"]
    assert configuration["adjustmentType"] == "ChangeInCapacity"
    return [
        (s.get("metricIntervalLowerBound"), s.get("metricIntervalUpperBound"), s["scalingAdjustment"])
        for s in configuration["stepAdjustments"]
    ]


def calls(graph: Plan, alarm: str, policy: str) -> bool:
    """Whether the alarm's only action is the policy."""
    found = {r.name: r for r in graph.resources}
    return list(found[alarm].inputs["alarmActions"]) == [found[policy].outputs["arn"]]


def test_the_target_is_the_service_between_floor_and_ceiling(services: Services, inputs: Inputs) -> None:
    target = inputs(services(**api()), "api-scaling-target")
    assert (target["minCapacity"], target["maxCapacity"]) == (2, 10)
    assert target["resourceId"] == "service/cluster-cluster-name/api-service-name"
    assert (target["serviceNamespace"], target["scalableDimension"]) == ("ecs", "ecs:service:DesiredCount")


@pytest.mark.parametrize(
    ("role", "metric", "default", "setting", "value", "changed"),
    [
        ("cpu", "ECSServiceAverageCPUUtilization", 70, "cpu", 50, 50),
        ("memory", "ECSServiceAverageMemoryUtilization", 80, "memory", 60, 60),
        # 100 requests a second are 6000 in the minute that the metric counts.
        ("requests", "ALBRequestCountPerTarget", 6000, "requests_per_second", 20, 1200),
    ],
)
def test_the_api_follows_its_load(
    services: Services,
    inputs: Inputs,
    role: str,
    metric: str,
    default: int,
    setting: str,
    value: int,
    changed: int,
) -> None:
    usual = tracked(inputs(services(**api()), f"api-scaling-{role}"))
    assert usual["targetValue"] == default
    assert usual["predefinedMetricSpecification"]["predefinedMetricType"] == metric
    assert (usual["scaleOutCooldown"], usual["scaleInCooldown"], usual["disableScaleIn"]) == (180, 300, False)
    assert tracked(inputs(services(**api(**{setting: value})), f"api-scaling-{role}"))["targetValue"] == changed


def test_requests_are_counted_at_the_target_group(services: Services, inputs: Inputs) -> None:
    graph = services(**api())
    label = tracked(inputs(graph, "api-scaling-requests"))["predefinedMetricSpecification"]["resourceLabel"]
    assert label == "balancer-alb-arnSuffix/balancer-target-arnSuffix"


def test_slow_answers_add_a_replica(services: Services, inputs: Inputs) -> None:
    graph = services(**api())
    alarm = inputs(graph, "api-scaling-latency-alarm")
    assert (alarm["metricName"], alarm["extendedStatistic"]) == ("TargetResponseTime", "p95")
    assert alarm["threshold"] == 0.5, "the metric is in seconds"
    assert alarm["treatMissingData"] == "notBreaching"
    assert steps(inputs(graph, "api-scaling-latency")) == [("0", None, 1)]
    assert calls(graph, "api-scaling-latency-alarm", "api-scaling-latency")
    faster = services(**api(latency_p95="250ms"))
    assert inputs(faster, "api-scaling-latency-alarm")["threshold"] == 0.25


def test_a_backlog_adds_workers_the_more_the_longer_it_is(services: Services, inputs: Inputs) -> None:
    graph = services(**worker())
    alarm = inputs(graph, "worker-scaling-backlog-alarm")
    assert (alarm["metricName"], alarm["comparisonOperator"], alarm["threshold"]) == (
        "QueueDepth",
        "GreaterThanThreshold",
        100,
    )
    assert (alarm["evaluationPeriods"], alarm["period"], alarm["treatMissingData"]) == (1, 60, "notBreaching")
    assert alarm["dimensions"] == {"Stack": "prod", "Queue": "webhook-processor"}
    assert steps(inputs(graph, "worker-scaling-out")) == [("0", "300", 1), ("300", "900", 5), ("900", None, 10)]
    other = services(**worker(backlog_high=40, max_replicas=2))
    assert inputs(other, "worker-scaling-backlog-alarm")["threshold"] == 40
    assert steps(inputs(other, "worker-scaling-out")) == [("0", "120", 1), ("120", "360", 1), ("360", None, 1)]


def test_a_long_wait_adds_workers_by_the_same_policy(services: Services, inputs: Inputs) -> None:
    """Two policies would each add for the same jobs; one policy's cooldown counts what it has added."""
    graph = services(**worker())
    alarm = inputs(graph, "worker-scaling-wait-alarm")
    assert (alarm["metricName"], alarm["threshold"], alarm["treatMissingData"]) == (
        "OldestJobWaitSeconds",
        60,
        "notBreaching",
    )
    assert calls(graph, "worker-scaling-wait-alarm", "worker-scaling-out")
    assert calls(graph, "worker-scaling-backlog-alarm", "worker-scaling-out")
    assert inputs(services(**worker(wait="2m")), "worker-scaling-wait-alarm")["threshold"] == 120


def test_a_short_queue_removes_one_worker_at_a_time(services: Services, inputs: Inputs) -> None:
    graph = services(**worker())
    alarm = inputs(graph, "worker-scaling-short-alarm")
    assert (alarm["comparisonOperator"], alarm["threshold"], alarm["evaluationPeriods"]) == ("LessThanThreshold", 10, 5)
    assert alarm["treatMissingData"] == "ignore", "no figures are no reason to remove anybody"
    assert steps(inputs(graph, "worker-scaling-in")) == [(None, "0", -1)]
    assert calls(graph, "worker-scaling-short-alarm", "worker-scaling-in")
    assert formula(alarm)[0] == SPARE
    assert inputs(services(**worker(backlog_low=3)), "worker-scaling-short-alarm")["threshold"] == 3
    more = services(worker={"concurrency": 20, **worker()["worker"]})
    assert formula(inputs(more, "worker-scaling-short-alarm"))[0] == spare(slots=20, last=False)


def test_cooldowns(services: Services, inputs: Inputs) -> None:
    graph = services(**worker(out_cooldown="30s", in_cooldown="10m"))
    out, back = (inputs(graph, f"worker-scaling-{role}")["stepScalingPolicyConfiguration"] for role in ("out", "in"))
    assert (out["cooldown"], back["cooldown"]) == (30, 600)


def test_a_busy_processor_adds_workers_and_an_idle_one_removes_none(services: Services, inputs: Inputs) -> None:
    policy = tracked(inputs(services(**worker()), "worker-scaling-cpu"))
    assert (policy["targetValue"], policy["disableScaleIn"]) == (80, True)
    assert tracked(inputs(services(**worker(cpu=60)), "worker-scaling-cpu"))["targetValue"] == 60


SPARE, SPARE_TO_NONE = spare(slots=10, last=False), spare(slots=10, last=True)


def formula(alarm: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The expression of an alarm, and the figure behind each of its ids."""
    queries = alarm["metricQueries"]
    (expression,) = [query["expression"] for query in queries if query["returnData"]]
    metrics = {q["id"]: q["metric"] for q in queries if not q["returnData"]}
    assert all(m["stat"] == "Maximum" and m["period"] == 60 for m in metrics.values())
    return expression, {id_: metric["metricName"] for id_, metric in metrics.items()}


def test_a_floor_of_zero_wakes_for_one_job(services: Services, inputs: Inputs) -> None:
    graph = services(**worker(replicas=0))
    assert inputs(graph, "worker-scaling-target")["minCapacity"] == 0
    wake = inputs(graph, "worker-scaling-wake-alarm")
    assert formula(wake) == (NO_WORKER_WAIT, {"wait": queue_metrics.OLDEST_WAIT, "workers": queue_metrics.WORKERS})
    assert (wake["threshold"], wake["treatMissingData"]) == (5, "notBreaching")
    assert steps(inputs(graph, "worker-scaling-wake")) == [("0", None, 1)]
    # Longer than a task takes to start: the alarm is raised all that time, and each minute would call another.
    assert inputs(graph, "worker-scaling-wake")["stepScalingPolicyConfiguration"]["cooldown"] == 240
    assert formula(inputs(graph, "worker-scaling-wait-alarm"))[0] == WORKERS_WAIT
    assert formula(inputs(graph, "worker-scaling-short-alarm")) == (
        SPARE_TO_NONE,
        {
            "depth": queue_metrics.QUEUE_DEPTH,
            "running": queue_metrics.RUNNING_JOBS,
            "workers": queue_metrics.WORKERS,
        },
    )


def test_a_floor_above_zero_needs_no_waking(services: Services) -> None:
    assert "worker-scaling-wake" not in {r.name for r in services(**worker()).resources}


def evaluate(expression: str, **values: float) -> float:
    """The program's own expression, with CloudWatch's `IF(condition, a, b)` in Python."""
    result: float = eval(expression, {"IF": lambda condition, yes, no: yes if condition else no, **values})
    return result


@pytest.mark.parametrize(
    ("expression", "values", "expected"),
    [
        (NO_WORKER_WAIT, {"workers": 0, "wait": 30}, 30),
        (NO_WORKER_WAIT, {"workers": 1, "wait": 30}, 0),
        (WORKERS_WAIT, {"workers": 0, "wait": 300}, 0),
        (WORKERS_WAIT, {"workers": 2, "wait": 300}, 300),
        # The last worker goes when nothing is left at all, the others by the backlog.
        (SPARE_TO_NONE, {"workers": 1, "depth": 0, "running": 1}, 1_000_000),
        (SPARE_TO_NONE, {"workers": 1, "depth": 1, "running": 0}, 1_000_000),
        (SPARE_TO_NONE, {"workers": 1, "depth": 0, "running": 0}, 0),
        (SPARE_TO_NONE, {"workers": 3, "depth": 4, "running": 16}, 4),
        # Two workers with ten slots each would be nearly full of what three do.
        (SPARE_TO_NONE, {"workers": 3, "depth": 4, "running": 17}, 1_000_004),
        (SPARE, {"workers": 3, "depth": 4, "running": 16}, 4),
        (SPARE, {"workers": 3, "depth": 4, "running": 17}, 1_000_004),
    ],
)
def test_what_the_expressions_mean(expression: str, values: dict[str, float], expected: float) -> None:
    assert evaluate(expression, **values) == expected


def test_each_group_follows_its_own_queue(services: Services, inputs: Inputs) -> None:
    groups = {"mail": {"scaling": {"max_replicas": 4, "backlog_high": 17}}}
    graph = services(worker={"groups": groups})
    alarm = inputs(graph, "worker-mail-scaling-backlog-alarm")
    assert (alarm["dimensions"]["Queue"], alarm["threshold"]) == ("mail", 17)
    assert "worker-scaling" not in {r.name for r in graph.resources}
