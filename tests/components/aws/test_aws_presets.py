"""The presets: each makes a whole stack, and costs what the page on sizes says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.engine.plan import Plan, plan
from infra.engine.project.project import ProgramConfig, Project
from infra.settings import Settings, load

PAGE = Path("docs/aws/sizing.md")
PRESETS = ("small", "medium", "large")
HOURS = 730
INSIGHTS = 12
"""Metrics that Container Insights keeps for a service."""
FIGURES = 7
"""Metrics of a queue."""


def values(root: Path, preset: str) -> dict[str, str]:
    tree = yaml.safe_load((root / f"docs/aws/presets/Pulumi.{preset}.yaml").read_text())["config"]
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in tree.items()}


@pytest.fixture(scope="module")
def preset(project: Project) -> Callable[[str], tuple[Settings, Plan]]:
    found: dict[str, tuple[Settings, Plan]] = {}

    def make(name: str) -> tuple[Settings, Plan]:
        if name not in found:
            given = values(project.root, name)
            graph = plan(project=project, stack=name, config=ProgramConfig(values=given, secret_keys=frozenset()))
            found[name] = load(given, project=project.name, stack=name), graph
        return found[name]

    return make


@pytest.fixture(scope="module")
def page(project: Project) -> str:
    return (project.root / PAGE).read_text()


def prices(page: str) -> dict[str, float]:
    rows = re.findall(r"^\| ([^|]+) \| ([\d.]+) \| (?:hour|month) \|", page, re.MULTILINE)
    return {name: float(price) for name, price in rows}


def bill(settings: Settings, graph: Plan, price: Mapping[str, float]) -> dict[str, float]:
    """USD a month by part, as the page describes it."""

    def count(type_: str) -> int:
        return len(graph.of_type(type_))

    services = [settings.api, *(group for _, group in settings.worker_groups)]
    replicas = sum(
        s.replicas * (s.cpu * price["Fargate ARM vCPU"] + s.memory / 1024**3 * price["Fargate ARM GiB"])
        for s in services
    )
    gateways, zones = count("aws:ec2/natGateway:NatGateway"), len(settings.network.zones)
    bare = sum(s.replicas for s in services) if settings.network.nat == "none" else 0
    (database,) = graph.of_type("aws:rds/instance:Instance")
    (redis,) = graph.of_type("aws:elasticache/replicationGroup:ReplicationGroup")
    disk = database.inputs["allocatedStorage"] * price["RDS gp3 GiB"]
    copies = 2 if database.inputs["multiAz"] else 1
    rules = [len(acl.inputs["rules"]) for acl in graph.of_type("aws:wafv2/webAcl:WebAcl")]
    return {
        "API and workers": HOURS * replicas,
        "NAT": HOURS * gateways * price["NAT gateway"],
        "public addresses": HOURS * (gateways + zones + bare) * price["public IPv4 address"],
        "load balancer": HOURS * (price["load balancer"] + price["load balancer capacity unit"]),
        "Postgres": copies * (HOURS * price[database.inputs["instanceClass"]] + disk),
        "Redis": HOURS * redis.inputs["numCacheClusters"] * price[redis.inputs["nodeType"]],
        "WAF": sum(price["web ACL"] + number * price["WAF rule"] for number in rules),
        "secrets and keys": (count("aws:secretsmanager/secret:Secret") + 1) * price["secret"]
        + count("aws:kms/key:Key") * price["KMS key"],
        "CloudWatch": _cloudwatch(settings, graph, price),
    }


def _cloudwatch(settings: Settings, graph: Plan, price: Mapping[str, float]) -> float:
    looked_at = 0
    for alarm in graph.of_type("aws:cloudwatch/metricAlarm:MetricAlarm"):
        queries = alarm.inputs.get("metricQueries")
        looked_at += sum("metric" in query for query in queries) if queries else 1
    policies = graph.of_type("aws:appautoscaling/policy:Policy")
    looked_at += 2 * sum(policy.inputs["policyType"] == "TargetTrackingScaling" for policy in policies)
    queues = {group.queue for _, group in settings.worker_groups}
    own = FIGURES * len(queues) + len(graph.of_type("aws:cloudwatch/logMetricFilter:LogMetricFilter"))
    services = len(graph.of_type("aws:ecs/service:Service"))
    return (
        looked_at * price["alarm metric"]
        + len(graph.of_type("aws:cloudwatch/compositeAlarm:CompositeAlarm")) * price["combined alarm"]
        + len(graph.of_type("aws:cloudwatch/dashboard:Dashboard")) * price["dashboard"]
        + (own + INSIGHTS * services) * price["custom metric"]
    )


def table(bills: Mapping[str, Mapping[str, float]]) -> str:
    """The rows of the page. Parts are rounded; the sum is that of the exact figures."""
    parts = next(iter(bills.values()))
    rows = [f"| {part} | {' | '.join(f'{bills[name][part]:.0f}' for name in PRESETS)} |" for part in parts]
    rows.append(f"| **together** | {' | '.join(f'**{sum(bills[name].values()):.0f}**' for name in PRESETS)} |")
    return "\n".join(rows)


def test_the_page_has_the_bill_of_the_presets(preset: Callable[[str], tuple[Settings, Plan]], page: str) -> None:
    wanted = table({name: bill(*preset(name), prices(page)) for name in PRESETS})
    assert wanted in page, f"put these rows into {PAGE}:\n{wanted}"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_stays_below_its_budget(preset: Callable[[str], tuple[Settings, Plan]], page: str, name: str) -> None:
    settings, graph = preset(name)
    budget = settings.alerts.monthly_budget
    assert budget is not None
    assert 1.1 * sum(bill(settings, graph, prices(page)).values()) < budget, "traffic costs something, too"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_safe(preset: Callable[[str], tuple[Settings, Plan]], name: str) -> None:
    settings, graph = preset(name)
    assert settings.protect
    (database,) = graph.of_type("aws:rds/instance:Instance")
    assert (database.inputs["deletionProtection"], database.inputs["storageEncrypted"]) == (True, True)
    assert database.inputs["multiAz"] == (name != "small")
    assert graph.of_type("aws:sns/topicSubscription:TopicSubscription")
    assert not graph.invokes or settings.image.reference is None


def test_a_price_that_is_not_on_the_page_is_noticed(preset: Callable[[str], tuple[Settings, Plan]], page: str) -> None:
    without: dict[str, Any] = {k: v for k, v in prices(page).items() if k != "db.t4g.micro"}
    with pytest.raises(KeyError, match=r"db\.t4g\.micro"):
        bill(*preset("small"), without)
