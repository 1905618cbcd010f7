"""The services of a stack, with the policies that the components really make."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from infra.engine.plan import plan
from infra.engine.project.project import ProgramConfig, Project, StackFile
from infra.simulation.from_plan import services
from infra.simulation.model import ScaledService

# The rest of the stack takes no part in scaling, and would take ten times as long to plan.
PROGRAM = """
import pulumi
import pulumi_aws as aws
from infra.aws.alarms.monitored import MonitoredBalancer
from infra.aws.scaling import ScalingArgs, ServiceScaling
from infra.aws.service import capacity
from infra.settings import from_pulumi
from infra.workload import Workload

cluster = aws.ecs.Cluster("cluster")
balancer, group = aws.lb.LoadBalancer("balancer"), aws.lb.TargetGroup("api")
for spec in Workload.of(from_pulumi()).services:
    definition = aws.ecs.TaskDefinition(
        spec.name, family=spec.name, container_definitions="[]", cpu=str(int(spec.cpu * 1024)),
        memory=str(spec.memory // 2**20), runtime_platform={"cpu_architecture": "ARM64"},
    )
    service = aws.ecs.Service(
        spec.name, cluster=cluster.arn, task_definition=definition.arn, desired_count=spec.replicas,
        capacity_provider_strategies=capacity(spec),
    )
    if spec.scaling:
        monitored = MonitoredBalancer(suffix=balancer.arn_suffix, target_suffix=group.arn_suffix)
        ServiceScaling(f"{spec.name}-scaling", ScalingArgs(
            service=spec.name, service_name=service.name, cluster_name=cluster.name, minimum=spec.replicas,
            scaling=spec.scaling, queue=spec.queue, balancer=None if spec.queue else monitored,
        ))
"""


@pytest.fixture(scope="session")
def scaled(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, ScaledService]]:
    """The services of `prod` by name, with groups of settings changed: ``scaled(worker={"replicas": 0})``."""
    folder = tmp_path_factory.mktemp("scaled")
    (folder / "__main__.py").write_text(PROGRAM)
    lone = dataclasses.replace(project, main=folder)
    made: dict[str, dict[str, ScaledService]] = {}

    def read(**groups: Any) -> dict[str, ScaledService]:
        key = json.dumps(groups, sort_keys=True)
        if key not in made:
            values = dict(StackFile.load(project, "prod").program_config(None).values)
            for group, keys in groups.items():
                name = f"{project.name}:{group}"
                values[name] = json.dumps({**json.loads(values[name]), **keys})
            config = ProgramConfig(values=values, secret_keys=frozenset())
            graph = plan(project=lone, stack="prod", config=config)
            made[key] = {service.name: service for service in services(graph)}
        return made[key]

    return read
