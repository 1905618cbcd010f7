"""What the AWS stacks ask for: whole graphs, once with unknown and once with known outputs.

``UPDATE_GOLDEN=1 pytest tests/components/aws/test_aws_golden.py`` writes the golden files anew; look at their
difference before committing.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.engine.plan import Plan, plan
from infra.engine.project.project import ProgramConfig, Project

GOLDEN = Path(__file__).with_name("golden")
Planned = Callable[..., Plan]

MINIMAL: Mapping[str, Any] = {
    "api": {"mode": "all", "replicas": 1},
    "network": {"nat": "none", "flow_logs": False, "waf": False},
}
"""One kind of replica that accepts and does jobs, in public subnets: the cheapest stack that serves. Over staging."""
STACKS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "prod": ("prod", {}),
    "staging": ("staging", {}),
    "minimal": ("staging", MINIMAL),
}
PLANTED = {
    "replicate_api_key": "planted-replicate-key",
    "openai_api_key": "planted-openai-key",
}
_SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret"
KNOWN: Mapping[str, Mapping[str, Any]] = {
    "aws:secretsmanager/secret:Secret": {"arn": f"{_SECRET}:stored-AbCdEf"},
    "aws:secretsmanager/secretVersion:SecretVersion": {"versionId": "0f1e2d3c-4b5a-4687-9788-a9bacbdcedfe"},
    "aws:rds/instance:Instance": {
        "masterUserSecrets": [{"secretArn": f"{_SECRET}:rds!db-1-AbCdEf", "kmsKeyId": "", "secretStatus": "active"}]
    },
    "aws:lb/loadBalancer:LoadBalancer": {"arnSuffix": "app/balancer/0123456789abcdef"},
    "aws:lb/targetGroup:TargetGroup": {"arnSuffix": "targetgroup/target/0123456789abcdef"},
}
"""Outputs whose form the program looks at."""
CLOSED = re.compile(r"planted-[a-z-]+")


@pytest.fixture
def graph(project: Project, stack_config: Callable[..., ProgramConfig], aws_fakes: Callable[..., Any]) -> Planned:
    def make(name: str, *, known: bool = False, secrets: Mapping[str, str] | None = None) -> Plan:
        stack, groups = STACKS[name]
        config = stack_config(stack, secrets, **groups)
        return plan(project=project, stack=stack, config=config, fakes=aws_fakes(KNOWN) if known else None)

    return make


def steady(found: dict[str, Any]) -> dict[str, Any]:
    """Without what varies and means nothing: the application's fingerprint, and the SDK's version."""
    text = json.dumps(found, sort_keys=True)
    text = re.sub(r"\d+\.\d+\.\d+-[0-9a-f]{12,64}\b", "VERSION-FINGERPRINT", text)
    text = re.sub(r'"version": "\d+\.\d+\.\d+[^"]*"', '"version": "SDK"', text)
    done: dict[str, Any] = json.loads(text)
    return done


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
@pytest.mark.parametrize("name", STACKS)
def test_the_graph_is_as_reviewed(graph: Planned, name: str, known: bool) -> None:
    found = steady(graph(name, known=known).to_json())
    file = GOLDEN / f"{name}-{'known' if known else 'unknown'}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(file.read_text())


@pytest.mark.parametrize("name", STACKS)
def test_a_plan_is_the_same_each_time(graph: Planned, name: str) -> None:
    assert graph(name).to_json() == graph(name).to_json()


@pytest.mark.parametrize("name", STACKS)
def test_no_resource_waits_for_outputs_to_be_known(graph: Planned, name: str) -> None:
    """One that is made inside `apply` is in no preview: it shows with known outputs alone."""
    assert {r.urn for r in graph(name).resources} == {r.urn for r in graph(name, known=True).resources}


@pytest.mark.parametrize("name", STACKS)
def test_every_resource_hangs_under_its_component(graph: Planned, name: str) -> None:
    found = graph(name)
    components = {r.urn: r for r in found.resources if not r.custom}
    for resource in found.resources:
        if not resource.custom or resource.type.startswith("pulumi:providers:"):
            continue
        parent = components[str(resource.parent)]
        assert parent.type.startswith("slipway:"), resource.name
        assert resource.name.startswith(f"{parent.name}-"), resource.name


@pytest.mark.parametrize("name", STACKS)
def test_every_aws_resource_uses_the_stacks_own_provider(graph: Planned, name: str) -> None:
    for resource in graph(name).resources:
        if resource.type.startswith("aws:"):
            assert "pulumi:providers:aws::aws::" in str(resource.registration.provider), resource.name


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
@pytest.mark.parametrize("name", STACKS)
def test_no_secret_is_in_a_plan(graph: Planned, name: str, known: bool) -> None:
    found = graph(name, known=known, secrets=PLANTED)
    leaked = {
        resource.name: sorted(set(matches))
        for resource in found.resources
        if (matches := CLOSED.findall(json.dumps(resource.to_json())))
    }
    assert not leaked
    assert not CLOSED.findall(json.dumps(found.to_json()["outputs"]))


@pytest.mark.parametrize("name", STACKS)
def test_the_planted_secrets_do_reach_secrets_manager(graph: Planned, name: str) -> None:
    """Else the test before this one would prove nothing."""
    values = json.dumps(
        [
            getattr(version.inputs["secretString"], "value", version.inputs["secretString"])
            for version in graph(name, known=True, secrets=PLANTED).of_type(
                "aws:secretsmanager/secretVersion:SecretVersion"
            )
        ]
    )
    for value in [*PLANTED.values(), "planted-password", "planted-key"]:
        assert value in values


@pytest.mark.parametrize("name", STACKS)
def test_a_plan_asks_nobody(graph: Planned, name: str) -> None:
    """The program calls no provider function, but for the login of a build with Docker."""
    assert set(graph(name).invokes) <= {"aws:ecr/getAuthorizationToken:getAuthorizationToken"}
