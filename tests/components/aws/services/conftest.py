"""Plans of the services of a stack, with a network and secrets that exist already."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from infra.engine.plan import Plan, PlannedResource
from infra.engine.values import Secret

PROGRAM = """
import json
from types import SimpleNamespace

import pulumi

from infra.aws.lazy_sdk import load_services_lazily

load_services_lazily()

from infra.aws.balancer import Balancer, BalancerArgs
from infra.aws.cluster import Cluster, ClusterArgs
from infra.aws.service import ApiService, ApiServiceArgs, WorkerService, WorkerServiceArgs
from infra.contracts import Image, SecretRef
from infra.settings import parse
from infra.settings.units import milliseconds, whole_seconds
from infra.workload import Workload

settings = parse(json.loads({tree!r}), stack="prod")
app = Workload.of(settings)
network = SimpleNamespace(
    vpc_id="vpc-1",
    public_subnets=["subnet-p1", "subnet-p2"],
    way_in=(),
    task_subnets=["subnet-t1", "subnet-t2"],
    assign_public_ip=False,
    groups=SimpleNamespace(balancer="sg-balancer", api="sg-api", worker="sg-worker"),
)
names = {{name for spec in app.services for name in spec.secrets}}
secrets = {{
    name: SecretRef(
        name=name,
        value=pulumi.Output.from_input(
            f"arn:aws:secretsmanager:eu-central-1:123456789012:secret:{{name}}-AbCdEf:::version-1"
        ),
    )
    for name in names
}}
image = Image(reference="123456789012.dkr.ecr.eu-central-1.amazonaws.com/app@sha256:" + "0" * 64)
repository = "arn:aws:ecr:eu-central-1:123456789012:repository/app"
cluster = Cluster(
    "cluster",
    ClusterArgs(
        network=network,
        region="eu-central-1",
        architecture=settings.image.architecture,
        log_retention_days=settings.log.retention_days,
        exec_enabled=settings.features.exec,
        key_arn={key!r},
    ),
)
balancer = Balancer(
    "balancer",
    BalancerArgs(
        network=network,
        port=app.api.port,
        health=app.api.readiness,
        request_timeout=whole_seconds(settings.api.request_timeout),
        domain=settings.domain.name,
        zone_id=settings.domain.zone_id,
        certificate_arn=settings.domain.certificate_arn,
        waf=settings.network.waf,
        waf_rate_limit=settings.network.waf_rate_limit,
        log_retention_days=settings.log.retention_days,
        key_arn={key!r},
        protect=settings.protect,
    ),
)
shared = dict(cluster=cluster, image=image, secrets=secrets, repository_arns=[repository])
api = ApiService(
    "api", ApiServiceArgs(spec=app.api, balancer=balancer, error_percent=settings.alerts.error_percent,
    latency_p95_ms=milliseconds(settings.alerts.latency_p95), **shared)
)
for spec in app.workers:
    WorkerService(spec.name, WorkerServiceArgs(spec=spec, failed_jobs=settings.alerts.failed_jobs, **shared))
pulumi.export("url", api.url)
"""

TREE: dict[str, Any] = {
    "target": "aws",
    "region": "eu-central-1",
    "account": "123456789012",
    "domain": {"name": "api.example.com", "zone_id": "Z0123456789"},
    "postgres": {"size": "db.m7g.large"},  # for the connections of many workers
}


@pytest.fixture
def services(planned_program: Callable[..., Plan]) -> Callable[..., Plan]:
    """The plan of cluster, balancer and services; groups of settings replace those of `TREE`."""

    def make(*, known: bool = True, key: str | None = None, **groups: Any) -> Plan:
        tree = json.dumps({**TREE, **groups})
        return planned_program(PROGRAM.format(tree=tree, key=key), known=known, stack="prod")

    return make


Find = Callable[..., Mapping[str, Any]]


@pytest.fixture
def inputs() -> Find:
    """The inputs of one resource, by its name, and its type's last part where several have the name."""

    def find(graph: Plan, name: str, kind: str = "") -> Mapping[str, Any]:
        return _one(graph, name, kind).inputs

    return find


@pytest.fixture
def definition() -> Callable[[Plan, str], dict[str, Any]]:
    """The first container of a task definition, by the resource's name."""

    def find(graph: Plan, name: str) -> dict[str, Any]:
        text = _one(graph, name, "TaskDefinition").inputs["containerDefinitions"]
        assert not isinstance(text, Secret)
        found: dict[str, Any] = json.loads(text)[0]
        return found

    return find


@pytest.fixture
def statements() -> Callable[[Plan, str], dict[str, Any]]:
    """The statements of a role's policy by their ids."""

    def find(graph: Plan, name: str) -> dict[str, Any]:
        policy = json.loads(_one(graph, name, "Policy").inputs["policy"])
        return {statement["Sid"]: statement for statement in policy["Statement"]}

    return find


def _one(graph: Plan, name: str, kind: str) -> PlannedResource:
    found = [r for r in graph.resources if r.name == name and r.custom and r.type.endswith(kind)]
    assert len(found) == 1, f"{name}: {[r.name for r in graph.resources]}"
    return found[0]
