"""Task definitions: what a container may do, what it is given, and what its roles allow."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from infra.aws.iam import place
from infra.aws.secrets import PINNED_SECRET, secret_arn
from infra.aws.task_definition import Container, check_size
from infra.engine.errors import EngineError
from infra.engine.plan import Plan
from infra.engine.values import Secret, Unknown

Services = Callable[..., Plan]
Inputs = Callable[..., Any]
ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf"
KEY = "arn:aws:kms:eu-central-1:123456789012:key/k"


def test_a_container_can_do_little(services: Services, definition: Callable[..., Any]) -> None:
    for name in ("api-task", "worker-task"):
        container = definition(services(), name)
        assert container["readonlyRootFilesystem"] is True
        assert container["user"] == "10001:10001"
        assert container["linuxParameters"] == {"initProcessEnabled": True, "capabilities": {"drop": ["ALL"]}}
        assert container["mountPoints"] == [{"sourceVolume": "tmp", "containerPath": "/tmp", "readOnly": False}]
        assert "privileged" not in container


def test_the_image_is_a_digest(services: Services, definition: Callable[..., Any]) -> None:
    assert "@sha256:" in definition(services(), "api-task")["image"]


def test_health_stop_and_port(services: Services, definition: Callable[..., Any]) -> None:
    graph = services()
    api, worker = definition(graph, "api-task"), definition(graph, "worker-task")
    assert api["healthCheck"]["command"] == ["CMD", "python", "-m", "app.healthcheck"]
    assert api["portMappings"] == [{"containerPort": 3000, "hostPort": 3000, "protocol": "tcp"}]
    assert (api["stopTimeout"], worker["stopTimeout"]) == (30, 120)
    assert worker["portMappings"] == []
    slower = services(worker={"health": {"interval": "20s", "timeout": "10s", "retries": 5, "start_period": "2m"}})
    assert {
        key: value for key, value in definition(slower, "worker-task")["healthCheck"].items() if key != "command"
    } == {
        "interval": 20,
        "timeout": 10,
        "retries": 5,
        "startPeriod": 120,
    }


def test_size_processor_and_family(services: Services, inputs: Inputs) -> None:
    graph = services(api={"cpu": 1, "memory": "2 GiB"}, image={"architecture": "x86_64"})
    task = inputs(graph, "api-task", "TaskDefinition")
    assert (task["cpu"], task["memory"], task["family"]) == ("1024", "2048", "slipway-prod-api")
    assert task["runtimePlatform"]["cpuArchitecture"] == "X86_64"
    assert inputs(services(), "api-task", "TaskDefinition")["runtimePlatform"]["cpuArchitecture"] == "ARM64"
    assert (task["networkMode"], task["requiresCompatibilities"]) == ("awsvpc", ["FARGATE"])
    # A rollback needs the revision before.
    assert task["skipDestroy"] is True


def test_logs_never_hold_the_application_up(services: Services, definition: Callable[..., Any], inputs: Inputs) -> None:
    graph = services(log={"retention_days": 90}, key=KEY)
    log = definition(graph, "worker-task")["logConfiguration"]
    assert log["logDriver"] == "awslogs"
    assert log["options"]["mode"] == "non-blocking"
    assert log["options"]["awslogs-region"] == "eu-central-1"
    group = inputs(graph, "worker-log", "LogGroup")
    assert (group["name"], group["retentionInDays"], group["kmsKeyId"]) == ("/slipway/prod/worker", 90, KEY)


def test_secrets_are_addresses_of_pinned_versions(services: Services, definition: Callable[..., Any]) -> None:
    container = definition(services(), "api-task")
    addresses = {secret["name"]: secret["valueFrom"] for secret in container["secrets"]}
    assert set(addresses) == {"DATABASE_URL", "REDIS_URL", "JWT_KEYS"}
    assert all(PINNED_SECRET.fullmatch(address) for address in addresses.values())
    assert not {variable["name"] for variable in container["environment"]} & set(addresses)


def test_a_preview_shows_the_definition(services: Services, inputs: Inputs) -> None:
    """Marked as secret, or hidden in whole, nobody could review it."""
    unknown = inputs(services(known=False), "api-task", "TaskDefinition")["containerDefinitions"]
    assert not isinstance(unknown, Secret)
    assert isinstance(unknown, Unknown) or "python" in unknown


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://app:planted@db/app",
        ARN,
        f"{ARN}:DATABASE_URL::",
        f"{ARN}:DATABASE_URL:AWSCURRENT:",
        f"{ARN}:DATABASE_URL:AWSCURRENT:v1",
        "arn:aws:ssm:eu-central-1:123456789012:parameter/app",
    ],
)
def test_anything_but_a_pinned_version_is_refused_without_showing_it(
    planned_program: Callable[..., Plan], address: str
) -> None:
    program = f"""
    import pulumi
    from infra.aws.secrets import pinned
    pulumi.export("address", pinned("DATABASE_URL", pulumi.Output.secret({address!r})))
    """
    with pytest.raises(EngineError, match="DATABASE_URL is not bound to a pinned version") as raised:
        planned_program(program, known=True)
    assert "planted" not in str(raised.value)


def test_the_secret_of_an_address() -> None:
    assert secret_arn(f"{ARN}:KEY::version") == secret_arn(f"{ARN}:::version") == ARN


# -- what a definition may not be

GOOD = Container(name="api", image="repo@sha256:0", command=("python",))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": "a b"}, "its name"),
        ({"command": ()}, "no command"),
        ({"environment": {"1A": "x"}}, "'1A' is no variable"),
        ({"environment": {"PORT": 3000}}, "PORT is not a string"),
        ({"environment": {"URL": "x"}, "secrets": {"URL": "y"}}, "URL is both plain and secret"),
        ({"stop_timeout": 1}, "1 s is not 2 to 120"),
        ({"stop_timeout": 121}, "121 s is not 2 to 120"),
        ({"port": 0}, "port 0"),
        ({"health": {"interval": 4, "timeout": 2, "retries": 3, "startPeriod": 0}}, "interval 4 is not 5 to 300"),
        ({"health": {"interval": 10, "timeout": 2, "retries": 11, "startPeriod": 0}}, "retries 11 is not 1 to 10"),
        ({"health": {"interval": 10, "timeout": 2, "retries": 3, "startPeriod": 301}}, "startPeriod 301"),
        ({"health": {"interval": 10, "timeout": 10, "retries": 3, "startPeriod": 0}}, "not below its interval"),
    ],
)
def test_what_ecs_would_refuse_is_refused_at_once(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(GOOD, **change)


def test_an_output_cannot_be_a_plain_variable(planned_program: Callable[..., Plan]) -> None:
    """A secret is an output: this is how one would get into the definition."""
    program = """
    import pulumi
    from infra.aws.task_definition import Container
    variables = {"PASSWORD": pulumi.Output.secret("planted")}
    Container(name="api", image="repo@sha256:0", command=("python",), environment=variables)
    """
    with pytest.raises(EngineError, match="PASSWORD is not a string"):
        planned_program(program, known=True)


@pytest.mark.parametrize(("cpu", "mebibytes"), [(0.25, 3072), (0.3, 512), (1, 1024), (4, 31 * 1024)])
def test_sizes_that_fargate_does_not_have(cpu: float, mebibytes: int) -> None:
    with pytest.raises(ValueError, match="Fargate has no size"):
        check_size(cpu=cpu, memory=mebibytes * 1024**2)


# -- roles


def test_the_execution_role_reaches_its_own_secrets_only(
    services: Services, statements: Callable[..., Any], inputs: Inputs
) -> None:
    graph = services(key=KEY)
    allowed = statements(graph, "api-execution-role-policy")
    secret = "arn:aws:secretsmanager:eu-central-1:123456789012:secret"
    assert allowed["Secrets"]["Resource"] == [
        f"{secret}:{name}-AbCdEf" for name in ("DATABASE_URL", "JWT_KEYS", "REDIS_URL")
    ]
    assert statements(graph, "worker-execution-role-policy")["Secrets"]["Resource"] == [
        f"{secret}:{name}-AbCdEf" for name in ("DATABASE_URL", "REDIS_URL")
    ]
    assert allowed["Pull"]["Resource"] == ["arn:aws:ecr:eu-central-1:123456789012:repository/app"]
    assert allowed["Log"]["Resource"] == ["arn:aws:cloudwatch:eu-central-1:123456789012:logGroup/api-log:*"]
    assert allowed["SecretsKey"]["Resource"] == [KEY]
    assert allowed["SecretsKey"]["Condition"] == {
        "StringEquals": {"kms:ViaService": "secretsmanager.eu-central-1.amazonaws.com"}
    }
    # The registry's login is the one action that takes no resource.
    assert [sid for sid, s in allowed.items() if s["Resource"] == ["*"]] == ["RegistryLogin"]


def test_without_a_key_of_its_own_nothing_may_decrypt(services: Services, statements: Callable[..., Any]) -> None:
    assert "SecretsKey" not in statements(services(), "api-execution-role-policy")


def test_roles_are_for_tasks_of_this_account_and_region(services: Services, inputs: Inputs) -> None:
    graph = services()
    roles = [r for r in graph.resources if r.type == "aws:iam/role:Role"]
    assert len(roles) == 3
    for role in roles:
        (trust,) = json.loads(role.inputs["assumeRolePolicy"])["Statement"]
        assert trust["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
        assert trust["Condition"] == {
            "StringEquals": {"aws:SourceAccount": "123456789012"},
            "ArnLike": {"aws:SourceArn": "arn:aws:ecs:eu-central-1:123456789012:*"},
        }


def test_code_gets_only_what_it_calls(services: Services, inputs: Inputs, statements: Callable[..., Any]) -> None:
    graph = services()
    assert inputs(graph, "api-task", "TaskDefinition").get("taskRoleArn") is None
    allowed = statements(graph, "worker-task-role-policy")
    assert set(allowed) == {"ScaleInProtection"}
    assert allowed["ScaleInProtection"]["Action"] == ["ecs:GetTaskProtection", "ecs:UpdateTaskProtection"]
    assert allowed["ScaleInProtection"]["Resource"] == ["arn:aws:ecs:eu-central-1:123456789012:task/cluster-cluster/*"]


def test_a_combined_api_protects_its_jobs_too(services: Services, statements: Callable[..., Any]) -> None:
    assert "ScaleInProtection" in statements(services(api={"mode": "all"}), "api-task-role-policy")


def test_the_definition_waits_for_its_permissions(services: Services) -> None:
    graph = services()
    task = next(r for r in graph.resources if r.name == "api-task" and r.custom)
    policy = next(r for r in graph.resources if r.name == "api-execution-role-policy")
    assert policy.urn in task.dependencies


@pytest.mark.parametrize("text", ["", "cluster", "arn:aws:ecs", "arn:aws:ecs:r:a:"])
def test_what_is_no_arn(text: str) -> None:
    with pytest.raises(ValueError, match="is no ARN"):
        place(text)
