"""What holds data goes with a valid permit alone: through the whole engine, with the hooks that Pulumi runs too."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.aws.guard import STATEFUL, Guard, GuardError
from infra.engine.deployment import Deployment, Result
from infra.engine.fakes import declared_outputs
from infra.engine.plan import Plan
from infra.engine.project.project import ProgramConfig, Project
from infra.engine.providers.base import DiffResult, Provider, ProviderRequest, ResourceOutputs
from infra.engine.providers.registry import ProviderRegistry
from infra.engine.state.snapshot import Snapshot
from infra.engine.urns import parse_urn
from infra.settings.platform import Permit

PROGRAM = """
import datetime
import pulumi
import pulumi_aws as aws
from infra.aws.guard import Guard, protect_nothing, protect_stateful
from infra.settings.platform import Permit

day = datetime.date(2026, 6, {day})
permits = [Permit.model_validate(permit) for permit in {permits}]
if {guarded}:
    protect_stateful(Guard(permits=permits, stack="prod", day=lambda: day))
else:
    protect_nothing()
if {bucket!r}:
    aws.s3.Bucket("uploads", bucket={bucket!r}, opts=pulumi.ResourceOptions(protect={protect}))
aws.ec2.Vpc("network", cidr_block="10.0.0.0/16")
"""

WHY = "The data has been copied elsewhere."


class Buckets(Provider):
    """A bucket's name cannot change in place."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def diff(self, request: ProviderRequest) -> DiffResult:
        return DiffResult(
            replaces=("bucket",) if request.inputs.get("bucket") != request.old_inputs.get("bucket") else ()
        )

    def create(self, request: ProviderRequest) -> ResourceOutputs:
        self.calls.append(("create", request.name))
        return ResourceOutputs(id=str(request.inputs.get("bucket", request.name)), outputs=request.inputs)

    def update(self, request: ProviderRequest) -> Mapping[str, Any]:
        return request.inputs

    def delete(self, request: ProviderRequest) -> None:
        self.calls.append(("delete", request.name))


class Silent:
    def emit(self, event: object) -> None:
        pass


class Stack:
    """One stack, with its state kept from run to run."""

    def __init__(self, project: Project, folder: Path) -> None:
        self._project = dataclasses.replace(project, root=folder, main=folder)
        self._folder = folder
        self._snapshot = Snapshot(stack="prod", project=project.name)
        self.provider = Buckets()

    def run(
        self,
        operation: str = "up",
        *,
        bucket: str = "first",
        day: int = 10,
        permits: tuple[Mapping[str, str], ...] = (),
        guarded: bool = True,
        protect: bool | None = None,
    ) -> Result:
        text = PROGRAM.format(bucket=bucket, day=day, permits=list(permits), guarded=guarded, protect=protect)
        (self._folder / "__main__.py").write_text(text)
        registry = ProviderRegistry.standard()
        registry.add("aws", lambda _: self.provider)
        deployment = Deployment(
            project=self._project,
            stack="prod",
            config=ProgramConfig(values={}, secret_keys=frozenset()),
            snapshot=self._snapshot,
            save=lambda _: None,
            sink=Silent(),
            providers=registry,
        )
        self.provider.calls.clear()
        result: Result = getattr(deployment, operation)()
        if operation != "preview":
            self._snapshot = deployment.snapshot
        return result

    @property
    def names(self) -> set[str]:
        return {parse_urn(r.urn).name for r in self._snapshot.resources if r.custom and not r.delete}


@pytest.fixture
def stack(project: Project, tmp_path: Path) -> Stack:
    made = Stack(project, tmp_path)
    assert made.run().succeeded
    return made


def permit(action: str, *, until: str = "2026-06-15", resource: str = "uploads") -> Mapping[str, str]:
    return {"resource": resource, "action": action, "until": until, "reason": WHY}


def told(result: Result) -> str:
    assert not result.succeeded
    return "\n".join(failure.message for failure in result.failures)


@pytest.mark.parametrize("operation", ["preview", "up"])
@pytest.mark.parametrize("bucket", ["", "second"], ids=["delete", "replace"])
def test_without_a_permit_nothing_goes(stack: Stack, operation: str, bucket: str) -> None:
    assert "is protected and would be" in told(stack.run(operation, bucket=bucket))
    assert ("delete", "uploads") not in stack.provider.calls
    assert "uploads" in stack.names


@pytest.mark.parametrize("operation", ["preview", "destroy"])
def test_a_stack_with_data_is_not_destroyed(stack: Stack, operation: str) -> None:
    result = stack.run(operation) if operation == "destroy" else stack.run("preview", bucket="")
    assert not result.succeeded
    assert not stack.provider.calls


def test_a_permit_to_replace_lets_it_be_replaced_at_once(stack: Stack) -> None:
    allowed = (permit("replace"),)
    assert stack.run("preview", bucket="second", permits=allowed).succeeded
    assert stack.run(bucket="second", permits=allowed).succeeded
    # The successor first: the order by which the guard knows a replacement.
    assert stack.provider.calls == [("create", "uploads"), ("delete", "uploads")]


def test_a_permit_to_delete_needs_an_up_that_lifts_the_protection(stack: Stack) -> None:
    allowed = (permit("delete"),)
    assert stack.run(permits=allowed).succeeded
    assert stack.run("preview", bucket="", permits=allowed).succeeded
    assert stack.run(bucket="", permits=allowed).succeeded
    assert stack.provider.calls == [("delete", "uploads")]


@pytest.mark.parametrize("operation", ["preview", "up"])
@pytest.mark.parametrize(
    ("given", "bucket", "wanted"),
    [("replace", "", "delete"), ("delete", "second", "replace")],
    ids=["deleted", "replaced"],
)
def test_a_permit_for_one_is_none_for_the_other(
    stack: Stack, operation: str, given: str, bucket: str, wanted: str
) -> None:
    assert stack.run(permits=(permit(given),)).succeeded
    message = told(stack.run(operation, bucket=bucket, permits=(permit(given),)))
    assert f"uploads holds data and would be {wanted}d. The permit to {given} it does not let anyone" in message
    assert f"action: {wanted}" in message
    assert ("delete", "uploads") not in stack.provider.calls


def test_a_permit_counts_on_the_day_of_the_deletion(stack: Stack) -> None:
    allowed = (permit("delete", until="2026-06-12"),)
    assert stack.run(permits=allowed, day=12).succeeded
    message = told(stack.run(bucket="", permits=allowed, day=13))
    assert "The permit to delete it ran out on 2026-06-12." in message
    assert not stack.provider.calls


def test_a_destroy_takes_what_is_permitted_to_be_deleted(stack: Stack) -> None:
    assert stack.run(permits=(permit("delete"),)).succeeded
    assert stack.run("destroy", permits=(permit("delete"),)).succeeded
    assert ("delete", "uploads") in stack.provider.calls
    assert not stack.names


def test_a_destroy_does_not_take_what_may_only_be_replaced(stack: Stack) -> None:
    assert stack.run(permits=(permit("replace"),)).succeeded
    assert "uploads holds data and would be deleted" in told(stack.run("destroy", permits=(permit("replace"),)))
    assert ("delete", "uploads") not in stack.provider.calls


def test_a_permit_for_another_resource_does_not_help(stack: Stack) -> None:
    assert not stack.run(bucket="second", permits=(permit("replace", resource="other"),)).succeeded


def test_a_stack_that_gives_up_its_protection_can_go(stack: Stack) -> None:
    assert stack.run(guarded=False).succeeded
    assert stack.run("destroy", guarded=False).succeeded


def test_hooks_of_an_earlier_run_are_still_there_when_protection_ends(stack: Stack) -> None:
    """The state names them until the next `up`: without them Pulumi could neither delete nor destroy."""
    assert stack.run(permits=(permit("delete"),)).succeeded
    assert stack.run(bucket="", guarded=False).succeeded


def test_a_component_can_vouch_for_what_holds_nothing_of_its_own(project: Project, tmp_path: Path) -> None:
    stack = Stack(project, tmp_path)
    assert stack.run(protect=False).succeeded
    assert stack.run(bucket="second", protect=False).succeeded


def test_what_holds_no_data_is_left_alone(planned_program: Callable[..., Plan]) -> None:
    text = PROGRAM.format(bucket="b", day=1, permits=[], guarded=True, protect=None)
    graph = planned_program(text)
    assert graph.find("aws:s3/bucket:Bucket", "uploads").registration.protect is True
    assert graph.find("aws:ec2/vpc:Vpc", "network").registration.protect is None


def test_a_permit_that_ran_out_is_told(planned_program: Callable[..., Plan]) -> None:
    text = PROGRAM.format(bucket="b", day=20, permits=[permit("replace")], guarded=True, protect=None)
    messages = planned_program(text).messages
    assert ("warning", "The permit to replace uploads ran out on 2026-06-15. Remove it from permits.") in messages


@pytest.mark.parametrize("type_", sorted(STATEFUL))
def test_every_guarded_type_is_one_of_the_sdk(type_: str) -> None:
    assert declared_outputs(type_), "a type that does not exist would guard nothing"


def test_the_refusal_says_what_to_write() -> None:
    day = datetime.date(2026, 6, 10)
    with pytest.raises(GuardError) as refused:
        Guard(permits=(), stack="prod", day=lambda: day).check("postgres-instance", "delete")
    assert str(refused.value) == (
        "postgres-instance holds data and would be deleted. Nothing was done to it. To keep it, undo the change that "
        "asks for this. To let it go, add to Pulumi.prod.yaml under slipway:permits: {resource: postgres-instance, "
        "action: delete, until: '2026-06-10', reason: ...}"
    )


def test_a_permit_holds_through_its_last_day() -> None:
    given = Permit.model_validate(permit("delete", until="2026-06-10"))
    for day, valid in ((9, True), (10, True), (11, False)):
        guard = Guard(permits=(given,), stack="prod", day=lambda day=day: datetime.date(2026, 6, day))
        assert guard.permitted("uploads", "delete") is valid
        assert guard.lifts("uploads") is valid
