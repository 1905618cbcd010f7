"""From a custom resource's registration to the step that brings it to its goal, which the executor then runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from infra.engine.program.monitor import RegisterResult
from infra.engine.providers.base import CheckFailure
from infra.engine.providers.client import OperationError, ProviderClient, preview_outputs
from infra.engine.state.snapshot import ResourceState
from infra.engine.steps.context import DeploymentContext
from infra.engine.steps.deletion import Deletion
from infra.engine.steps.diff import compare, describe
from infra.engine.steps.executor import Halted
from infra.engine.steps.registrations import ResolvedRegistration, state_of
from infra.engine.steps.step import Step, apply_ignore_changes, check_options, choose_step
from infra.engine.urns import parse_urn
from infra.engine.values import has_unknown


class StepGenerator:
    def __init__(self, context: DeploymentContext, deletion: Deletion) -> None:
        self._context = context
        self._deletion = deletion

    def register(self, resolved: ResolvedRegistration) -> RegisterResult:
        """Raises OperationError when the resource failed, Halted when it was not begun."""
        context, goal, old = self._context, resolved.goal, resolved.old
        if goal.import_id and (old is None or old.id != goal.import_id):
            raise context.fail(
                resolved.urn, f"importing {goal.name} ({goal.import_id}) needs the Pulumi CLI: run `pulumi up` once"
            )
        if not context.dry_run and has_unknown(dict(goal.inputs)):
            # It was made from the outputs of something that failed or was not begun.
            raise Halted
        new = state_of(resolved, provider=context.providers.reference(goal))
        check_options(new)
        client = context.providers.client(new)
        if client is None:
            context.require_provider(new)
            outputs = preview_outputs(new.inputs, secret=new.additional_secret_outputs, before={})
            return RegisterResult(urn=new.urn, outputs=outputs)
        if old is None or old.external or old.custom != new.custom:
            self._create(new, client, old)
        else:
            self._diff(resolved, new, old, client)
        return RegisterResult(urn=new.urn, id=new.id or "", outputs=new.outputs)

    def _create(self, new: ResourceState, client: ProviderClient, old: ResourceState | None) -> None:
        new.inputs = self._check(new, client, {})
        again = self._context.snapshots.pending_operation(new.urn) == "creating"
        reason = "the last run was cut short while creating it: create is called again" if again else ""
        step = Step(op="create", changes=describe(compare({}, new.inputs)), reason=reason)
        self._context.executor.create(new, client, step, old=old)

    def _diff(
        self, resolved: ResolvedRegistration, new: ResourceState, old: ResourceState, client: ProviderClient
    ) -> None:
        context, goal = self._context, resolved.goal
        new.inputs = apply_ignore_changes(new, old, goal.ignore_changes)
        new.inputs = self._check(new, client, {} if old.pending_replacement else old.inputs)
        try:
            step = choose_step(
                old=old,
                new=new,
                client=client,
                delete_before_replace=goal.delete_before_replace,
                replaced=frozenset(context.replaced),
                pending=context.snapshots.pending_operation(resolved.old_urn),
            )
        except OperationError as error:
            raise self._report(new, error) from None
        if step.op == "same":
            context.executor.same(new, old)
        elif step.op == "update":
            context.executor.update(new, old, client, step)
        else:
            # Defaults that a provider derived for the old self do not carry over.
            self._replace(new, dict(goal.inputs), old, client, step)

    def _replace(
        self, new: ResourceState, inputs: dict[str, Any], old: ResourceState, client: ProviderClient, step: Step
    ) -> None:
        context = self._context
        if old.protect and new.protect:
            forcing = [change.path for change in step.changes if change.forces_replacement]
            why = step.reason or f"{', '.join(forcing)} cannot change in place"
            raise context.fail(
                new.urn,
                f"{parse_urn(new.urn).name} is protected and would be replaced: {why}. "
                "To let it be replaced, set protect=False in the program",
            )
        new.inputs = inputs
        new.inputs = self._check(new, client, {})
        context.replaced.add(new.urn)
        if step.delete_before_replace and not old.pending_replacement:
            self._deletion.delete_before_replace(old)
        context.executor.create(new, client, step, old=old)

    def _check(self, new: ResourceState, client: ProviderClient, old_inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs as the provider wants them; raises OperationError when it refuses them."""
        try:
            checked, failures = client.check(new, old_inputs)
        except OperationError as error:
            raise self._report(new, error) from None
        if failures:
            raise self._context.fail(new.urn, _refusal(new, failures))
        return checked

    def _report(self, new: ResourceState, error: OperationError) -> OperationError:
        if error.details:
            self._context.reporter.say("debug", error.details, urn=new.urn)
        return self._context.fail(new.urn, str(error))


def _refusal(new: ResourceState, failures: Sequence[CheckFailure]) -> str:
    lines = [f"{failure.property}: {failure.reason}" if failure.property else failure.reason for failure in failures]
    return f"the inputs of {parse_urn(new.urn).name} are refused: {'; '.join(lines)}"
