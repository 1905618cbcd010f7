"""When the provider's own wait for a rollout fails, the tasks' reasons and last lines are told with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.engine.deployment import Deployment, Result
from infra.engine.errors import EngineError
from infra.engine.project.project import ProgramConfig, Project
from infra.engine.providers.base import Provider, ProviderRequest, ResourceOutputs
from infra.engine.providers.registry import ProviderRegistry
from infra.engine.state.snapshot import Snapshot

PROGRAM = """
import pulumi, pulumi_aws as aws
from infra.aws.control.explain import explained
aws.ecs.Service("api", name="api", cluster={cluster!r}, task_definition={definition!r},
    opts=pulumi.ResourceOptions(hooks=explained("api")))
"""


class Refusing(Provider):
    """An ECS service whose rollout fails, unless it brings revision 41."""

    def create(self, request: ProviderRequest) -> ResourceOutputs:
        self._settle(request)
        return ResourceOutputs(
            id=f"{request.inputs['cluster'].replace(':cluster/', ':service/')}/api", outputs=dict(request.inputs)
        )

    def update(self, request: ProviderRequest) -> Mapping[str, Any]:
        self._settle(request)
        return dict(request.inputs)

    def delete(self, request: ProviderRequest) -> None:
        raise EngineError("in use")

    def _settle(self, request: ProviderRequest) -> None:
        if not request.inputs["taskDefinition"].endswith(":41"):
            raise EngineError("unexpected state 'ROLLBACK_SUCCESSFUL'")


class Log:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def emit(self, event: Any) -> None:
        self.events.append(event)

    @property
    def text(self) -> str:
        return "\n".join(str(getattr(event, "message", "")) for event in self.events)


@pytest.fixture
def run(project: Project, tmp_path: Path, names: SimpleNamespace, factory: None) -> Callable[..., tuple[Result, str]]:
    lone = dataclasses.replace(project, root=tmp_path, main=tmp_path)
    states = [Snapshot(stack="prod", project=project.name)]
    registry = ProviderRegistry.standard()
    registry.add("aws", lambda _: Refusing())

    def call(revision: int, operation: str = "up") -> tuple[Result, str]:
        text = PROGRAM.format(cluster=names.cluster, definition=names.definition(revision))
        (tmp_path / "__main__.py").write_text(text)
        log = Log()
        deployment = Deployment(
            project=lone,
            stack="prod",
            config=ProgramConfig(values={}, secret_keys=frozenset()),
            snapshot=states[-1],
            save=lambda _: None,
            sink=log,
            providers=registry,
        )
        result: Result = getattr(deployment, operation)()
        states.append(deployment.snapshot)
        return result, log.text

    return call


@pytest.fixture
def broken(aws: Any, names: SimpleNamespace) -> None:
    """Revision 42, whose only task ended at once."""
    aws.define(names.definition(42))
    task = aws.add_task(1, names.definition(42), "ecs-svc/42")
    aws.end_task(task, code=1)
    aws.write(task, "KeyError: 'DATABASE_URL'")
    message = "(service api) deployment ecs-svc/42 deployment failed: tasks failed to start."
    aws.service = {
        "serviceName": "api",
        "status": "ACTIVE",
        "events": [{"id": "1", "createdAt": aws.clock.now(), "message": message}],
    }


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("before", [None, 41])
def test_a_failed_rollout_is_explained(run: Callable[..., tuple[Result, str]], before: int | None) -> None:
    if before:
        assert run(before)[0].succeeded
    result, text = run(42)
    assert not result.succeeded
    assert "unexpected state 'ROLLBACK_SUCCESSFUL'" in result.failures[0].message
    assert "What the failed rollout of api left behind:" in text
    assert "1 task stopped: Essential container in task exited; api: exit code 1" in text
    assert "KeyError: 'DATABASE_URL'" in text
    assert "tasks failed to start" in text


@pytest.mark.usefixtures("broken")
def test_an_explanation_that_fails_leaves_the_error_alone(
    aws: Any, run: Callable[..., tuple[Result, str]], refusal: Any
) -> None:
    aws.faults.append(("DescribeServices", refusal("AccessDeniedException", "no")))
    result, text = run(42)
    assert "unexpected state 'ROLLBACK_SUCCESSFUL'" in result.failures[0].message
    assert "It could not be looked at: ecs:DescribeServices was refused" in text


def test_a_rollout_that_settles_is_not_looked_at(aws: Any, run: Callable[..., tuple[Result, str]]) -> None:
    assert run(41)[0].succeeded
    assert run(41, "preview")[0].succeeded
    assert not run(41, "destroy")[0].succeeded
    assert not aws.calls
