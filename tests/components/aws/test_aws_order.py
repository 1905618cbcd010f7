"""Orders that only AWS knows: read from the graph, since in a run the right one can also come about by chance.

Each line says what must be there before what. Deletion goes the other way round, so that each line is about that too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest

from infra.engine.plan import Plan

MINIMAL: Mapping[str, Any] = {
    "api": {"mode": "all", "replicas": 1},
    "network": {"nat": "none", "flow_logs": False, "waf": False},
}
ORDERS: tuple[tuple[str, str, str], ...] = (
    # CreateLoadBalancer: "InvalidSubnet: VPC has no internet gateway". DetachInternetGateway: "has some mapped public
    # address(es)".
    ("network-gateway", "balancer-alb", "a balancer needs an internet gateway"),
    ("network-public-route", "balancer-alb", "a balancer needs public subnets"),
    ("network-public-?-association", "balancer-alb", "a balancer needs public subnets"),
    ("network-gateway", "network-nat-?", "a NAT gateway needs an internet gateway"),
    ("network-gateway", "network-nat-?-address", "an address is mapped through the gateway"),
    ("balancer-logs-policy", "balancer-alb", "the balancer tries its log bucket"),
    ("balancer-validation-record", "balancer-validation", "ACM looks for the record"),
    ("balancer-validation", "balancer-https", "a listener takes issued certificates only"),
    # The first task of all: out to ECR and Secrets Manager, and on to the database.
    ("network-*route*", "migrate-run", "a task needs its way out"),
    ("network-*-association", "migrate-run", "a task needs its way out"),
    ("network-*endpoint", "migrate-run", "a task needs its way out"),
    ("network-nat-*", "migrate-run", "a task needs its way out"),
    ("network-*-out-*", "migrate-run", "a task needs the rules of its groups"),
    ("network-*-in-*", "migrate-run", "a task needs the rules of its groups"),
    ("preparation-*-execution-role-policy", "migrate-run", "a task starts with its role's permissions"),
    ("preparation-*-log", "migrate-run", "a task that cannot log does not start"),
    ("cluster-capacity", "*-service", "a service uses the cluster's providers"),
    ("migrate-run", "*-service", "new code meets its schema"),
    ("balancer-https", "api-service", "ECS takes no target group without a listener"),
    ("balancer-waf-association", "api-service", "no request passes the firewall unseen"),
    ("api-log", "api-service", "a task that cannot log does not start"),
    ("worker-log", "worker-service", "a task that cannot log does not start"),
    ("api-execution-role-policy", "api-service", "a task that cannot read its secrets counts against the breaker"),
    ("worker-execution-role-policy", "worker-service", "as above"),
    ("worker-task-role-policy", "worker-service", "a worker protects itself at once"),
    ("api-rollback-*", "api-service", "ECS looks for the alarms of a rollout"),
    ("worker-rollback-*", "worker-service", "ECS looks for the alarms of a rollout"),
    ("api-service", "api-scaling-target", "there is something to scale"),
    ("worker-service", "worker-scaling-target", "there is something to scale"),
    # The other way round it is what `scaling_ends` counts on.
    ("api-scaling-target", "api-scaling-*", "an alarm has its policy, and a policy its target"),
    ("worker-scaling-target", "worker-scaling-*", "an alarm has its policy, and a policy its target"),
    ("postgres-instance-log-*", "postgres-instance", "RDS would make groups that keep everything"),
    ("postgres-monitoring-policy", "postgres-instance", "RDS tries the role"),
    ("postgres-instance-version", "postgres-parameters-*", "a lower version is refused first"),
    ("redis-group-version", "redis-parameters-*", "a lower version is refused first"),
    ("redis-slow-log", "redis-group", "ElastiCache looks for the group"),
    ("redis-engine-log", "redis-group", "ElastiCache looks for the group"),
    ("redis-user-*", "redis-group", "a group has its users"),
    ("network-flow-log-policy", "network-flow-log", "EC2 tries the role"),
    ("balancer-waf-log", "balancer-waf-logging", "WAF tries the destination"),
    ("backup-bucket-*", "backup-schedule", "no dump is written in the open"),
    ("backup-schedule-role-policy", "backup-schedule", "Scheduler tries the role"),
    ("backup-role-*", "backup-selection", "AWS Backup tries the role"),
    ("backup-role-*", "backup-restore-test-selection", "AWS Backup tries the role"),
    ("notifications-policy", "monitoring-*-target", "an event that may not be told is dropped"),
    ("notifications-policy", "monitoring-api-down", "an alarm that may not be told is dropped"),
    ("notifications-policy", "monitoring-budget", "a budget that may not be told is silent"),
)
STACKS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "prod": ("prod", {}),
    "staging": ("staging", {}),
    "minimal": ("staging", MINIMAL),
}
WATCHED: Mapping[str, Any] = {"alerts": {"emails": ["ops@example.com"], "monthly_budget": 500}}
SUBNET = "subnet-0123456789abcdef"
EXISTING: Mapping[str, Any] = {
    "vpc": "vpc-0123456789abcdef0",
    "public_subnets": [f"{SUBNET}0", f"{SUBNET}1"],
    "task_subnets": [f"{SUBNET}2", f"{SUBNET}3"],
    "data_subnets": [f"{SUBNET}4", f"{SUBNET}5"],
}


def before(graph: Plan) -> Callable[[str], set[str]]:
    """All that a resource waits for, by name."""
    by_urn = {resource.urn: resource for resource in graph.resources}
    by_name = {resource.name: resource for resource in graph.resources if resource.custom}
    known: dict[str, set[str]] = {}

    def closure(urn: str) -> set[str]:
        if urn not in known:
            known[urn] = set()
            for dependency in by_urn[urn].dependencies:
                known[urn] |= {by_urn[dependency].name, *closure(dependency)}
        return known[urn]

    return lambda name: closure(by_name[name].urn)


@pytest.fixture(scope="module")
def graphs() -> dict[str, Plan]:
    """One plan of each stack for all lines."""
    return {}


@pytest.mark.parametrize(("first", "then", "why"), ORDERS, ids=[f"{first}-{then}" for first, then, _ in ORDERS])
@pytest.mark.parametrize("name", STACKS)
def test_what_only_aws_knows(
    planned_aws: Callable[..., Plan], graphs: dict[str, Plan], name: str, first: str, then: str, why: str
) -> None:
    if name not in graphs:
        stack, groups = STACKS[name]
        graphs[name] = planned_aws(stack, **WATCHED, **groups)
    graph = graphs[name]
    names = [resource.name for resource in graph.resources if resource.custom]
    earlier, later = ([made for made in names if fnmatchcase(made, pattern)] for pattern in (first, then))
    if name == "prod":
        assert earlier, f"nothing is called {first}"
        assert later, f"nothing is called {then}"
    waits = before(graph)
    for made in later:
        missing = {*earlier} - {made, *waits(made)}
        assert not missing, f"{made} does not wait for {', '.join(sorted(missing))}: {why}"


def test_a_service_waits_for_the_one_listener_of_a_stack_without_tls(planned_aws: Callable[..., Plan]) -> None:
    bare = {"name": None, "zone": None, "zone_id": None, "plain_http": True}
    graph = planned_aws("staging", domain=bare)
    assert "balancer-http" in before(graph)("api-service")


def test_a_network_that_exists_has_nothing_to_wait_for(planned_aws: Callable[..., Plan]) -> None:
    graph = planned_aws("prod", network={"existing": EXISTING})
    assert not [made for made in before(graph)("balancer-alb") if fnmatchcase(made, "network-*route*")]
