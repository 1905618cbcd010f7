"""Brings one custom resource to what the program wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from infra.engine.context import Context
from infra.engine.program.monitor import Registered
from infra.engine.providers.base import CheckFailure
from infra.engine.providers.boundary import Bound, OperationError, foreseen
from infra.engine.secrecy import has_unknown
from infra.engine.state.resources import ResourceState
from infra.engine.steps.decision import Decision, check_options, decide, keep_ignored
from infra.engine.steps.diff import compare, describe
from infra.engine.steps.executor import Halted
from infra.engine.steps.identity import Identity, state_of
from infra.engine.steps.removal import Removal
from infra.engine.urns import parse_urn


class Customs:
    def __init__(self, context: Context, removal: Removal) -> None:
        self._context = context
        self._removal = removal

    def settle(self, identity: Identity) -> Registered:
        """Raises OperationError when the resource failed, Halted when it was not begun."""
        context, wanted, old = self._context, identity.wanted, identity.old
        if wanted.import_id and (old is None or old.id != wanted.import_id):
            raise context.fail(
                identity.urn, f"importing {wanted.name} ({wanted.import_id}) needs the Pulumi CLI: run `pulumi up` once"
            )
        if not context.dry_run and has_unknown(dict(wanted.inputs)):
            # It was made from the outputs of something that failed or was not begun.
            raise Halted
        new = state_of(identity, provider=context.sources.reference(identity))
        check_options(new)
        bound = context.sources.bound(new)
        if bound is None:
            context.lacks(new)
            outputs = foreseen(new.inputs, secret=new.additional_secret_outputs, before={})
            return Registered(urn=new.urn, outputs=outputs)
        if old is None or old.external or old.custom != new.custom:
            self._create(new, bound, old)
        else:
            self._bring(identity, new, old, bound)
        return Registered(urn=new.urn, id=new.id or "", outputs=new.outputs)

    def _create(self, new: ResourceState, bound: Bound, old: ResourceState | None) -> None:
        new.inputs = self._checked(new, bound, {})
        decision = Decision(op="create", changes=describe(compare({}, new.inputs)), reason=self._retry_reason(new))
        self._context.operations.create(new, bound, decision, old=old)

    def _retry_reason(self, new: ResourceState) -> str:
        again = self._context.ledger.cut_short(new.urn) == "creating"
        return "the last run was cut short while creating it: create is called again" if again else ""

    def _bring(self, identity: Identity, new: ResourceState, old: ResourceState, bound: Bound) -> None:
        context = self._context
        new.inputs = keep_ignored(new, old, identity.wanted.ignore_changes)
        new.inputs = self._checked(new, bound, {} if old.pending_replacement else old.inputs)
        decision = self._decided(identity, new, old, bound)
        if decision.op == "same":
            context.operations.same(new, old)
        elif decision.op == "update":
            context.operations.update(new, old, bound, decision)
        else:
            self._replace(identity, new, old, bound, decision)

    def _decided(self, identity: Identity, new: ResourceState, old: ResourceState, bound: Bound) -> Decision:
        context = self._context
        try:
            return decide(
                old=old,
                new=new,
                bound=bound,
                delete_before_replace=identity.wanted.delete_before_replace,
                replaced=frozenset(context.replaced),
                cut_short=context.ledger.cut_short(identity.old_urn),
            )
        except OperationError as error:
            raise self._told(new, error) from None

    def _replace(
        self, identity: Identity, new: ResourceState, old: ResourceState, bound: Bound, decision: Decision
    ) -> None:
        context = self._context
        if old.protect and new.protect:
            forcing = [change.path for change in decision.changes if change.forces_replacement]
            why = decision.reason or f"{', '.join(forcing)} cannot change in place"
            raise context.fail(
                new.urn,
                f"{parse_urn(new.urn).name} is protected and would be replaced: {why}. "
                "To let it be replaced, set protect=False in the program",
            )
        # Defaults that a provider derived for the old self do not carry over.
        new.inputs = self._checked(new, bound, {}, dict(identity.wanted.inputs))
        context.replaced.add(new.urn)
        if decision.delete_first and not old.pending_replacement:
            self._removal.clear_for_replacement(old)
        context.operations.create(new, bound, decision, old=old)

    def _checked(
        self,
        new: ResourceState,
        bound: Bound,
        old_inputs: Mapping[str, Any],
        inputs: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The inputs as the provider wants them; raises OperationError when it refuses them."""
        if inputs is not None:
            new.inputs = inputs
        try:
            checked, failures = bound.check(new, old_inputs)
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
