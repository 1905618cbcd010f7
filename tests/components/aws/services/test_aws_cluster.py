"""The cluster: insights, capacity, recorded sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.engine.plan import Plan

Services = Callable[..., Plan]
Inputs = Callable[..., Any]


def test_it_counts_and_mixes_capacity(services: Services, inputs: Inputs) -> None:
    graph = services()
    cluster = inputs(graph, "cluster-cluster")
    assert cluster["settings"] == [{"name": "containerInsights", "value": "enabled"}]
    capacity = inputs(graph, "cluster-capacity")
    assert capacity["capacityProviders"] == ["FARGATE", "FARGATE_SPOT"]


def test_without_the_switch_nobody_gets_a_shell(services: Services, inputs: Inputs) -> None:
    graph = services()
    assert inputs(graph, "cluster-cluster")["configuration"] == {"executeCommandConfiguration": {"logging": "NONE"}}
    assert not inputs(graph, "api-service")["enableExecuteCommand"]
    assert not [r for r in graph.resources if r.name == "cluster-exec-log"]


@pytest.mark.parametrize("key", [None, "arn:aws:kms:eu-central-1:123456789012:key/k"])
def test_a_shell_is_recorded(
    services: Services, inputs: Inputs, statements: Callable[..., Any], definition: Callable[..., Any], key: str | None
) -> None:
    graph = services(features={"exec": True}, key=key)
    recorded = inputs(graph, "cluster-cluster")["configuration"]["executeCommandConfiguration"]
    assert recorded["logging"] == "OVERRIDE"
    assert recorded["logConfiguration"]["cloudWatchEncryptionEnabled"] is (key is not None)
    assert recorded.get("kmsKeyId") == key
    assert inputs(graph, "worker-service")["enableExecuteCommand"]
    allowed = statements(graph, "api-task-role-policy")
    assert set(allowed["ExecChannels"]["Action"]) == {
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
    }
    assert ("ExecKey" in allowed) is (key is not None)
    # Its agent writes, and the root file system stays read-only.
    container = definition(graph, "api-task")
    assert container["readonlyRootFilesystem"]
    assert {m["containerPath"] for m in container["mountPoints"]} == {"/tmp", "/var/lib/amazon", "/var/log/amazon"}
    volumes = {volume["name"] for volume in inputs(graph, "api-task", "TaskDefinition")["volumes"]}
    assert volumes == {m["sourceVolume"] for m in container["mountPoints"]}


def test_every_resource_hangs_under_its_component(services: Services) -> None:
    graph = services(worker={"scaling": {"max_replicas": 5}}, api={"scaling": {"max_replicas": 5}})
    components = {r.urn: r for r in graph.resources if not r.custom}
    for resource in graph.resources:
        if resource.custom:
            parent = components[str(resource.parent)]
            assert resource.name.startswith(f"{parent.name}-")
