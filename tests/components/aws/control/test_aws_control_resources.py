"""The control resources in a stack: when they act, when they must not, and what they leave in the state."""

from __future__ import annotations

import base64
import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore import xform_name
from pulumi.dynamic import ResourceProvider

from infra.aws import control
from infra.aws.control.clients import FACTORY, connect
from infra.aws.control.errors import ControlError
from infra.aws.control.permissions import PERMISSIONS
from infra.aws.control.providers import RolloutProvider, TaskSequenceProvider
from infra.engine.deployment import Deployment, Result
from infra.engine.plan import plan
from infra.engine.project.project import ProgramConfig, Project
from infra.engine.state.snapshot import Snapshot

PROGRAM = """
import pulumi
from infra.aws.control.migration import Migration, MigrationArgs, TaskRun
from infra.aws.control.rollout import RolloutCheck
from infra.contracts import Image

prefix = {prefix!r}
def run(name, revision):
    return TaskRun(
        name=name,
        task_definition=f"{{prefix}}:task-definition/{{name}}:{{revision}}",
        security_groups=["sg-1"],
        timeout={timeout},
    )

migrated = Migration("migrate", MigrationArgs(
    region={region!r}, cluster={cluster!r}, image=Image(reference="api@sha256:{image}"),
    runs=[run("bootstrap", {bootstrap}), run("migrate", {migrate})], subnets=["subnet-1"], assign_public_ip=False,
    triggers={{"database": {database!r}}},
))
RolloutCheck("api-rollout",
    region={region!r}, cluster={cluster!r}, service=f"{{prefix}}:service/slipway/api",
    task_definition=f"{{prefix}}:task-definition/api:{api}", timeout=600, triggers={{}},
    opts=pulumi.ResourceOptions(depends_on=[migrated]))
pulumi.export("tasks", migrated.tasks)
"""
VALUES = {"image": 1, "bootstrap": 1, "migrate": 1, "api": 41, "database": "db-1", "timeout": 600}


class Silent:
    def emit(self, event: object) -> None:
        pass


@pytest.fixture
def up(
    project: Project, tmp_path: Path, aws: Any, names: SimpleNamespace, factory: None
) -> Callable[..., tuple[Result, Snapshot]]:
    """Runs the program with some values changed, always on the last state; every task ends well unless told."""
    lone = dataclasses.replace(project, root=tmp_path, main=tmp_path)
    states = [Snapshot(stack="prod", project=project.name)]
    aws.on_run = lambda task: aws.clock.at(aws.clock.seconds + 20, lambda: aws.end_task(task))
    for name in ("bootstrap", "migrate"):
        for revision in (1, 2):
            aws.define(names.definition(revision, name))
    for revision in (41, 42):
        aws.define(names.definition(revision))
    serve(aws, names, 41)

    def run(operation: str = "up", **values: Any) -> tuple[Result, Snapshot]:
        aws.calls.clear()
        text = PROGRAM.format(prefix=names.prefix, region=names.region, cluster=names.cluster, **{**VALUES, **values})
        (tmp_path / "__main__.py").write_text(text)
        deployment = Deployment(
            project=lone,
            stack="prod",
            config=ProgramConfig(values={}, secret_keys=frozenset()),
            snapshot=states[-1],
            save=lambda _: None,
            sink=Silent(),
        )
        result: Result = getattr(deployment, operation)()
        states.append(deployment.snapshot)
        return result, deployment.snapshot

    return run


def serve(aws: Any, names: SimpleNamespace, revision: int) -> None:
    aws.service = {
        "serviceName": "api",
        "status": "ACTIVE",
        "deployments": [
            {
                "id": f"ecs-svc/{revision}",
                "status": "PRIMARY",
                "taskDefinition": names.definition(revision),
                "rolloutState": "COMPLETED",
            }
        ],
    }


def ran(aws: Any) -> list[str]:
    return [request["taskDefinition"].rsplit("/", 1)[1] for name, request in aws.calls if name == "RunTask"]


def test_bootstrap_then_migrate_then_the_rollout(aws: Any, up: Callable[..., Any]) -> None:
    result, _ = up()
    assert result.succeeded
    assert ran(aws) == ["bootstrap:1", "migrate:1"]
    assert len(result.outputs["tasks"]) == 2
    actions = aws.actions()
    assert actions.index("DescribeServices") > len(actions) - 1 - actions[::-1].index("RunTask")


def test_nothing_is_called_without_a_change(aws: Any, up: Callable[..., Any]) -> None:
    up()
    result, _ = up()
    assert result.succeeded
    assert not aws.calls


@pytest.mark.parametrize(
    ("change", "runs", "checks"),
    [
        ({"image": 2}, True, False),
        ({"migrate": 2}, True, False),
        ({"bootstrap": 2}, True, False),
        ({"database": "db-2"}, True, False),
        ({"timeout": 900}, False, False),
        ({"api": 42}, False, True),
    ],
)
def test_what_repeats_them(
    aws: Any, up: Callable[..., Any], names: SimpleNamespace, change: dict[str, Any], runs: bool, checks: bool
) -> None:
    up()
    if checks:
        serve(aws, names, 42)
    result, _ = up(**change)
    assert result.succeeded
    assert (len(ran(aws)) == 2) is runs
    assert ("DescribeServices" in aws.actions()) is checks


def test_a_preview_makes_no_call(aws: Any, up: Callable[..., Any]) -> None:
    assert up("preview")[0].succeeded
    assert not aws.calls
    up()
    result, _ = up("preview", image=2, api=42)
    assert result.changes["update"] == 2
    assert not aws.calls


def test_a_failed_bootstrap_stops_all_and_is_repeated(aws: Any, up: Callable[..., Any]) -> None:
    up()
    aws.on_run = lambda task: aws.clock.at(aws.clock.seconds + 20, lambda: aws.end_task(task, code=1))
    result, _ = up(image=2, api=42)
    assert not result.succeeded
    assert ran(aws) == ["bootstrap:1"]
    assert "The bootstrap task failed with exit code 1" in result.failures[0].message
    assert "DescribeServices" not in aws.actions()
    aws.on_run = lambda task: aws.clock.at(aws.clock.seconds + 20, lambda: aws.end_task(task))
    result, _ = up(image=2)
    assert result.succeeded
    assert ran(aws) == ["bootstrap:1", "migrate:1"]


def test_a_failed_rollout_fails_the_update_and_is_looked_at_again(
    aws: Any, up: Callable[..., Any], names: SimpleNamespace
) -> None:
    up()
    result, _ = up(api=42)
    assert not result.succeeded
    assert "The rollout of api to api:42 failed: no deployment of api:42 has begun" in result.failures[0].message
    serve(aws, names, 42)
    assert up(api=42)[0].succeeded


def test_destroy_makes_no_call(aws: Any, up: Callable[..., Any]) -> None:
    up()
    assert up("destroy")[0].succeeded
    assert not aws.calls


def test_the_state_holds_providers_by_name(up: Callable[..., Any]) -> None:
    """Code in the state would tie it to one version of Python, and every edit of a comment would run a migration."""
    _, snapshot = up()
    pickled = [r.inputs["__provider"].value for r in snapshot.resources if "__provider" in r.inputs]
    assert len(pickled) == 2
    for text in pickled:
        assert len(base64.b64decode(text)) < 150
        code = "import base64, dill, sys; print(type(dill.loads(base64.b64decode(sys.argv[1]))).__qualname__)"
        shown = subprocess.run(
            [sys.executable, "-c", code, text], capture_output=True, text=True, timeout=60, check=True
        )
        assert shown.stdout.strip() in ("TaskSequenceProvider", "RolloutProvider")


def test_a_plan_loads_no_sdk_of_aws(project: Project, tmp_path: Path, names: SimpleNamespace) -> None:
    program = PROGRAM.format(prefix=names.prefix, region=names.region, cluster=names.cluster, **VALUES)
    (tmp_path / "__main__.py").write_text(f"{program}\nimport sys\nassert not any(n in sys.modules for n in LOADED)\n")
    code = f"""
import dataclasses, sys
from pathlib import Path
from infra.engine.plan import plan
from infra.engine.project.project import ProgramConfig, load_project
import builtins
builtins.LOADED = ("boto3", "botocore")
there = Path({str(tmp_path)!r})
project = dataclasses.replace(load_project(Path({str(project.root)!r})), root=there, main=there)
graph = plan(project=project, stack="prod", config=ProgramConfig(values={{}}, secret_keys=frozenset()))
print(len(graph.resources))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 0, shown.stderr


def test_the_graph(project: Project, tmp_path: Path, names: SimpleNamespace) -> None:
    program = PROGRAM.format(prefix=names.prefix, region=names.region, cluster=names.cluster, **VALUES)
    (tmp_path / "__main__.py").write_text(program)
    lone = dataclasses.replace(project, root=tmp_path, main=tmp_path)
    graph = plan(project=lone, stack="prod", config=ProgramConfig(values={}, secret_keys=frozenset()))
    run = graph.find("pulumi-python:dynamic/slipway:EcsTaskSequence", "migrate-run")
    assert run.parent == graph.find("slipway:aws:Migration", "migrate").urn
    check = graph.find("pulumi-python:dynamic/slipway:EcsRollout", "api-rollout")
    assert run.urn in check.dependencies


def test_wrong_inputs_are_refused_before_anything_runs(aws: Any, up: Callable[..., Any]) -> None:
    result, _ = up(timeout=-1)
    assert not result.succeeded
    assert "steps.0.timeout" in result.failures[0].message
    assert not aws.calls


@pytest.mark.parametrize("named", ["nowhere", "no.such.module:make", "infra.aws.control.clients:no_such"])
def test_a_factory_that_is_not_there(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv(FACTORY, named)
    with pytest.raises(ControlError, match="must be module:function"):
        connect("eu-central-1")


def test_clients_of_aws_are_made_without_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FACTORY, raising=False)
    made = connect("eu-north-1")
    assert made.ecs.meta.region_name == made.logs.meta.region_name == "eu-north-1"
    assert made.ecs.meta.config.connect_timeout == 10


def test_every_call_has_its_permission(wired: SimpleNamespace) -> None:
    """The operations in the code and those in the permissions are the same, and all are ECS's or Logs' own."""
    source = "\n".join(path.read_text() for path in Path(control.__file__).parent.glob("*.py"))
    operations = {
        f"{service}:{operation}"
        for service in ("ecs", "logs")
        for operation in getattr(wired, service).meta.service_model.operation_names
        if f'"{xform_name(operation)}"' in source
    }
    implied = {"ecs:TagResource"}  # RunTask asks for it
    assert {one.action for one in PERMISSIONS} - implied == operations
    assert all(one.reason for one in PERMISSIONS)
    assert all(one.conditions or "*" not in one.action for one in PERMISSIONS)


@pytest.mark.parametrize("provider", [TaskSequenceProvider, RolloutProvider])
def test_a_provider_keeps_nothing_that_threads_could_share(provider: type[ResourceProvider]) -> None:
    """Both hosts call it for several resources at once. Clients are made for each operation."""
    assert vars(provider()) == {}
    assert connect("eu-central-1").ecs is not connect("eu-central-1").ecs
