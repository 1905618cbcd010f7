"""Brings one custom resource to what the program wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from infra.engine.program.monitor import RegisterResult
from infra.engine.providers.base import CheckFailure
from infra.engine.providers.client import OperationError, ProviderClient, preview_outputs
from infra.engine.state.snapshot import ResourceState
from infra.engine.steps.context import DeploymentContext
from infra.engine.steps.diff import compare, describe
from infra.engine.steps.executor import Halted
from infra.engine.steps.registrations import ResolvedRegistration, state_of
from infra.engine.steps.removal import Removal
from infra.engine.steps.step import Step, check_options, decide, keep_ignored
from infra.engine.urns import parse_urn
from infra.engine.values import has_unknown


class StepGenerator:
    def __init__(self, context: DeploymentContext, removal: Removal) -> None:
        self._context = context
        self._removal = removal

    def settle(self, resolved: ResolvedRegistration) -> RegisterResult:
        """Raises OperationError when the resource failed, Halted when it was not begun."""
        context, goal, old = self._context, resolved.goal, resolved.old
        if goal.import_id and (old is None or old.id != goal.import_id):
            raise context.fail(
                resolved.urn, f"importing {goal.name} ({goal.import_id}) needs the Pulumi CLI: run `pulumi up` once"
            )
        if not context.dry_run and has_unknown(dict(goal.inputs)):
            # It was made from the outputs of something that failed or was not begun.
            raise Halted
        new = state_of(resolved, provider=context.sources.reference(resolved))
        check_options(new)
        client = context.sources.client(new)
        if client is None:
            context.lacks(new)
            outputs = preview_outputs(new.inputs, secret=new.additional_secret_outputs, before={})
            return RegisterResult(urn=new.urn, outputs=outputs)
        if old is None or old.external or old.custom != new.custom:
            self._create(new, client, old)
        else:
            self._bring(resolved, new, old, client)
        return RegisterResult(urn=new.urn, id=new.id or "", outputs=new.outputs)

    def _create(self, new: ResourceState, client: ProviderClient, old: ResourceState | None) -> None:
        new.inputs = self._checked(new, client, {})
        step = Step(op="create", changes=describe(compare({}, new.inputs)), reason=self._retry_reason(new))
        self._context.executor.create(new, client, step, old=old)

    def _retry_reason(self, new: ResourceState) -> str:
        again = self._context.snapshots.cut_short(new.urn) == "creating"
        return "the last run was cut short while creating it: create is called again" if again else ""

    def _bring(
        self, resolved: ResolvedRegistration, new: ResourceState, old: ResourceState, client: ProviderClient
    ) -> None:
        context = self._context
        new.inputs = keep_ignored(new, old, resolved.goal.ignore_changes)
        new.inputs = self._checked(new, client, {} if old.pending_replacement else old.inputs)
        step = self._decided(resolved, new, old, client)
        if step.op == "same":
            context.executor.same(new, old)
        elif step.op == "update":
            context.executor.update(new, old, client, step)
        else:
            self._replace(resolved, new, old, client, step)

    def _decided(
        self, resolved: ResolvedRegistration, new: ResourceState, old: ResourceState, client: ProviderClient
    ) -> Step:
        context = self._context
        try:
            return decide(
                old=old,
                new=new,
                client=client,
                delete_before_replace=resolved.goal.delete_before_replace,
                replaced=frozenset(context.replaced),
                cut_short=context.snapshots.cut_short(resolved.old_urn),
            )
        except OperationError as error:
            raise self._told(new, error) from None

    def _replace(
        self,
        resolved: ResolvedRegistration,
        new: ResourceState,
        old: ResourceState,
        client: ProviderClient,
        step: Step,
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
        # Defaults that a provider derived for the old self do not carry over.
        new.inputs = self._checked(new, client, {}, dict(resolved.goal.inputs))
        context.replaced.add(new.urn)
        if step.delete_first and not old.pending_replacement:
            self._removal.clear_for_replacement(old)
        context.executor.create(new, client, step, old=old)

    def _checked(
        self,
        new: ResourceState,
        client: ProviderClient,
        old_inputs: Mapping[str, Any],
        inputs: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The inputs as the provider wants them; raises OperationError when it refuses them."""
        if inputs is not None:
            new.inputs = inputs
        try:
            checked, failures = client.check(new, old_inputs)
        except OperationError as error:
            raise self._told(new, error) from None
        if failures:
            raise self._context.fail(new.urn, _refusal(new, failures))
        return checked

    def _told(self, new: ResourceState, error: OperationError) -> OperationError:
        if error.details:
            self._context.reporter.say("debug", error.details, urn=new.urn)
        return self._context.fail(new.urn, str(error))


def _refusal(new: ResourceState, failures: Sequence[CheckFailure]) -> str:
    lines = [f"{failure.property}: {failure.reason}" if failure.property else failure.reason for failure in failures]
    return f"the inputs of {parse_urn(new.urn).name} are refused: {'; '.join(lines)}"
