"""A rotation moves one step at a time, and only from where everything has arrived."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra import signing_keys
from infra.engine.deployment import Deployment, Result
from infra.engine.display.events import Diagnostic
from infra.engine.project.project import ProgramConfig, Project
from infra.engine.state.snapshot import Snapshot
from infra.rotation_record import CLOCKS

PROGRAM = """
import pulumi
from infra.local.rotation_record import RotationRecord, RotationRecordArgs
generations = {"rotation.db": pulumi.Config("slipway").require_int("generation")}
RotationRecord("requested", RotationRecordArgs(generations=generations))
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


# -- the time of the last step

DAY = timedelta(days=1)
KEYS = """
import pulumi
from infra.local.rotation_record import RotationRecord, RotationRecordArgs
from infra.rotation_record import SigningKeys
config = pulumi.Config("slipway")
generations = {"rotation.jwt": config.require_int("jwt")}
RotationRecord("requested", RotationRecordArgs(generations=generations))
rollout = pulumi.ResourceHook("rollout", lambda _: 1 / config.require_int("rolls"))
options = pulumi.ResourceOptions(hooks=pulumi.ResourceHookBinding(before_update=[rollout]))
service = pulumi.Stash("service", input=config.require_int("jwt"), opts=options)
signing = SigningKeys(generation=config.require_int("jwt"), token_life=7 * 86_400, floor=config.get_int("floor"))
RotationRecord("applied", RotationRecordArgs(generations=generations, signing=signing, after=[service]))
"""
FORMER = KEYS.replace("signing=signing, ", "")
"""Before times were kept."""


class Keys:
    """One stack over days; each `up` runs on the state that the last one left, also when that failed."""

    def __init__(self, project: Project, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.project = dataclasses.replace(project, root=folder, main=folder)
        self.snapshot = Snapshot(stack="local", project=project.name)
        self.time, self.warnings = datetime(2026, 3, 1, 12, tzinfo=UTC), []
        monkeypatch.setattr(signing_keys, "now", lambda: self.time)

    def emit(self, event: object) -> None:
        if isinstance(event, Diagnostic) and event.severity == "warning":
            self.warnings.append(event.message)

    def run(self, operation: str, jwt: int, *, program: str = KEYS, rolls: int = 1, floor: int | None = None) -> Result:
        (self.project.root / "__main__.py").write_text(program)
        values = {"jwt": jwt, "rolls": rolls, **({"floor": floor} if floor else {})}
        deployment = Deployment(
            project=self.project,
            stack="local",
            config=ProgramConfig(
                values={f"slipway:{name}": str(value) for name, value in values.items()}, secret_keys=frozenset()
            ),
            snapshot=self.snapshot,
            save=lambda _: None,
            sink=self,
        )
        result: Result = getattr(deployment, operation)()
        self.snapshot = deployment.snapshot
        return result

    def up(self, jwt: int, **more: Any) -> Result:
        result = self.run("up", jwt, **more)
        assert result.succeeded, result.failures
        return result

    def refused(self, operation: str, jwt: int, **more: Any) -> str:
        """The message; nothing but a failure may have come of it."""
        before = self.snapshot
        result = self.run(operation, jwt, **more)
        assert not result.succeeded
        assert self.snapshot == before
        return result.failures[0].message


@pytest.fixture
def keys(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    return Keys(project, tmp_path, monkeypatch)


@pytest.mark.parametrize("operation", ["preview", "up"])
def test_a_step_within_the_life_of_a_token_changes_nothing(keys: Keys, operation: str) -> None:
    keys.up(1)
    keys.time += 30 * DAY
    keys.up(2)
    keys.time += 6 * DAY
    message = keys.refused(operation, 3)
    assert "which drops key g1, whose tokens may live until 2026-04-07 12:05 UTC" in message
    keys.up(2)  # The number set back: nothing had moved.
    keys.time += DAY + CLOCKS
    keys.up(3)


def test_insisting_says_what_it_costs_in_the_preview_and_in_the_up(keys: Keys) -> None:
    keys.up(1)
    keys.up(2)
    assert keys.run("preview", 3, floor=2).succeeded
    assert ["whoever holds such a token is logged out" in text for text in keys.warnings] == [True]
    keys.up(3, floor=2)
    assert len(keys.warnings) > 1
    assert "drops key g2" in keys.refused("up", 4, floor=2)


def test_nothing_is_told_or_noted_while_nothing_changes(keys: Keys) -> None:
    keys.up(1)
    keys.up(2)
    for _ in range(2):
        keys.time += DAY
        assert set(keys.up(2).changes) == {"same"}
        assert set(keys.run("preview", 2).changes) == {"same"}


def test_a_preview_notes_no_time(keys: Keys) -> None:
    keys.up(1)
    before = keys.snapshot
    assert keys.run("preview", 2).succeeded
    assert keys.snapshot == before
    keys.time += DAY
    keys.up(2)
    assert "arrived on 2026-03-02 12:00 UTC" in keys.refused("preview", 3)


def test_a_rollout_that_failed_is_repeated_and_counts_from_its_end(keys: Keys) -> None:
    keys.up(1)
    assert not keys.run("up", 2, rolls=0).succeeded
    assert "at once" in keys.refused("up", 3)
    assert "goes back from 2 to 1" in keys.refused("up", 1)
    keys.time += 8 * DAY
    keys.up(2)
    assert "arrived on 2026-03-09 12:00 UTC" in keys.refused("up", 3)


def test_a_step_that_was_let_pass_is_let_pass_again_after_it_failed(keys: Keys) -> None:
    keys.up(1)
    keys.up(2)
    assert not keys.run("up", 3, floor=2, rolls=0).succeeded
    keys.time += DAY
    keys.up(3, floor=2)


def test_two_steps_at_once_are_refused_as_such_however_old_the_last_one_is(keys: Keys) -> None:
    keys.up(1)
    keys.time += 90 * DAY
    assert "rotation.jwt goes from 1 to 3 at once" in keys.refused("up", 3, floor=3)


def test_a_stack_from_before_goes_on(keys: Keys) -> None:
    keys.up(4, program=FORMER)
    former = {resource.urn: resource.id for resource in keys.snapshot.resources}
    changes = keys.up(4).changes
    assert set(changes) == {"same", "create"}
    assert changes["create"] == 1
    assert former.items() <= {resource.urn: resource.id for resource in keys.snapshot.resources}.items()
    assert set(keys.up(4).changes) == {"same"}
    assert "drops key g3" in keys.refused("up", 5)
    keys.time += 7 * DAY + CLOCKS
    keys.up(5)


def test_a_stack_from_before_is_asked_to_note_the_time_before_its_next_step(keys: Keys) -> None:
    keys.up(4, program=FORMER)
    assert "Set rotation.jwt to 4 and run up, which notes the time" in keys.refused("preview", 5)
    assert "Set rotation.jwt to 4 and run up, which notes the time" in keys.refused("up", 5)
    keys.up(5, floor=4)
    assert set(keys.up(5, floor=4).changes) == {"same"}


def test_a_stack_from_before_may_make_its_first_step_at_once(keys: Keys) -> None:
    keys.up(1, program=FORMER)
    keys.up(2)


def test_a_number_that_the_state_does_not_name_yet_was_one(keys: Keys) -> None:
    more = KEYS.replace(
        '"rotation.jwt": config', '"rotation.migrate": config.require_int("rolls"), "rotation.jwt": config'
    )
    keys.up(3)
    assert "rotation.migrate goes from 1 to 3 at once" in keys.refused("up", 3, program=more, rolls=3)
    keys.up(3, program=more, rolls=2)
