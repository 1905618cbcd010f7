"""A rotation moves one step at a time, and only from where everything has arrived."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.engine.deployment import Deployment, Result
from infra.engine.project import ProgramConfig, Project
from infra.engine.state import Snapshot

PROGRAM = """
import pulumi
from infra.local.rotation import RotationMarker, RotationMarkerArgs
generations = {"rotation.db": pulumi.Config("slipway").require_int("generation")}
RotationMarker("requested", RotationMarkerArgs(generations=generations))
"""


class Silent:
    def emit(self, event: object) -> None:
        pass


@pytest.fixture
def deploy(project: Project, tmp_path: Path) -> Callable[..., Result]:
    """Runs the program at a generation, on one state."""
    (tmp_path / "__main__.py").write_text(PROGRAM)
    lone = dataclasses.replace(project, root=tmp_path, main=tmp_path)
    states = [Snapshot(stack="local", project=project.name)]

    def run(generation: int, operation: str = "up") -> Result:
        deployment = Deployment(
            project=lone,
            stack="local",
            config=ProgramConfig(values={"slipway:generation": str(generation)}, secret_keys=frozenset()),
            snapshot=states[-1],
            save=lambda _: None,
            sink=Silent(),
        )
        result: Result = getattr(deployment, operation)()
        if operation == "up":
            states.append(deployment.snapshot)
        return result

    return run


def test_one_step_up_passes(deploy: Callable[..., Result]) -> None:
    for generation in (3, 4, 4, 5):
        assert deploy(generation).succeeded


@pytest.mark.parametrize("operation", ["preview", "up"])
@pytest.mark.parametrize(
    ("generation", "message"),
    [(5, "rotation.db goes from 3 to 5 at once"), (2, "rotation.db goes back from 3 to 2")],
)
def test_anything_else_is_refused_before_it_happens(
    deploy: Callable[..., Result], operation: str, generation: int, message: str
) -> None:
    assert deploy(3).succeeded
    refused = deploy(generation, operation)
    assert not refused.succeeded
    assert message in refused.failures[0].message
    assert deploy(4).succeeded
