"""slipway simulate: what it prints, writes and refuses."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Slipway = Callable[..., Any]
PROGRAM = """
import pulumi_aws as aws
for name, number in (("api", 2), ("worker", 1)):
    definition = aws.ecs.TaskDefinition(name, family=name, container_definitions="[]", cpu="1024", memory="2048")
    service = aws.ecs.Service(name, cluster="c", task_definition=definition.arn, desired_count=number)
target = aws.appautoscaling.Target(
    "worker", service_namespace="ecs", scalable_dimension="ecs:service:DesiredCount", resource_id=service.id,
    min_capacity=1, max_capacity=4,
)
policy = aws.appautoscaling.Policy(
    "out", policy_type="StepScaling", service_namespace="ecs", scalable_dimension="ecs:service:DesiredCount",
    resource_id=target.resource_id, step_scaling_policy_configuration={
        "adjustment_type": "ChangeInCapacity", "cooldown": 60,
        "step_adjustments": [{"metric_interval_lower_bound": "0", "scaling_adjustment": 1}],
    },
)
aws.cloudwatch.MetricAlarm(
    "deep", comparison_operator="GreaterThanThreshold", threshold=100, evaluation_periods=1, period=PERIOD,
    namespace="Slipway", metric_name="QueueDepth", dimensions={"Queue": "webhook-processor"}, statistic="Maximum",
    alarm_actions=[policy.arn],
)
"""


@pytest.fixture
def prod(root: Path) -> Path:
    """A project with a small program for AWS, and the real settings of production."""
    shutil.copy(Path(__file__).parents[3] / "Pulumi.prod.yaml", root)
    (root / "stacks").mkdir()
    (root / "stacks" / "__main__.py").write_text(PROGRAM.replace("PERIOD", "60"))
    return root


def test_text_of_all_services(prod: Path, slipway: Slipway) -> None:
    answer = slipway("simulate", "--stack", "prod", "--load", "steady:8", "--duration", "1h")
    assert answer.code == 0, answer.err
    assert "api (requests; no scaling) under 8/s for 1:00" in answer.out
    assert "worker (queue webhook-processor; 1 to 4 tasks, 1 policies)" in answer.out
    assert "1 -> 2  deep" in answer.out


def test_json_of_one_service(prod: Path, slipway: Slipway) -> None:
    options = ("--stack", "prod", "--format", "json", "--load", "steady:8", "--duration", "1h")
    (found,) = json.loads(slipway("simulate", "worker", *options).out)
    assert found["changes"][0] == {"at_s": 120.0, "before": 1, "after": 2, "because": "deep"}
    (slower,) = json.loads(slipway("simulate", "worker", *options, "--start-up", "4m").out)
    assert slower["longest_wait_s"] > found["longest_wait_s"]
    (lighter,) = json.loads(slipway("simulate", "worker", *options, "--job", "500ms").out)
    assert lighter["changes"] == []


def test_plots(prod: Path, slipway: Slipway) -> None:
    assert "wrote plot-api.svg" in slipway("simulate", "--stack", "prod", "--svg", "plot.svg").err
    ET.parse(prod / "plot-worker.svg")
    slipway("simulate", "api", "--stack", "prod", "--svg", "plot.svg")
    ET.parse(prod / "plot.svg")


def test_concurrency_is_that_of_the_settings(prod: Path, slipway: Slipway) -> None:
    file = prod / "Pulumi.prod.yaml"
    options = ("--stack", "prod", "--format", "json", "--load", "steady:8", "--duration", "1h")
    (before,) = json.loads(slipway("simulate", "worker", *options).out)
    file.write_text(file.read_text().replace("  slipway:worker:\n", "  slipway:worker:\n    concurrency: 20\n"))
    (after,) = json.loads(slipway("simulate", "worker", *options).out)
    assert (len(before["changes"]), len(after["changes"])) == (3, 0)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--stack", "local"], 1, "simulated for aws only"),
        (["nobody", "--stack", "prod"], 1, "has no service 'nobody'; it has api, worker"),
        (["--stack", "prod", "--load", "steady"], 1, "is no load. Give one of"),
        (["--stack", "prod", "--duration", "5"], 2, "is no duration: write a number and a unit"),
        (["--stack", "prod", "--duration", "1m"], 2, "simulate 10m to 7d"),
        (["--stack", "prod", "--job", "0s"], 2, "must be above 0"),
        (
            ["--stack", "prod", "--svg", "no/such/folder/plot.svg"],
            1,
            "cannot write no/such/folder/plot-api.svg: No such file",
        ),
    ],
)
def test_refusals(prod: Path, slipway: Slipway, arguments: list[str], code: int, message: str) -> None:
    answer = slipway("simulate", *arguments)
    assert answer.code == code
    assert message in answer.err
    assert "bug in slipway" not in answer.err


def test_what_would_be_simulated_wrongly_is_refused(prod: Path, slipway: Slipway) -> None:
    (prod / "stacks" / "__main__.py").write_text(PROGRAM.replace("PERIOD", "300"))
    answer = slipway("simulate", "--stack", "prod")
    assert answer.code == 1
    assert "deep has a period of 300 s; only minutes are simulated" in answer.err
