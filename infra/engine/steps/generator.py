"""From a custom resource's registration to the step that brings it to its goal, which the executor then runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from infra.engine.errors import EngineError
from infra.engine.program.monitor import RegisterResult
from infra.engine.providers.base import CheckFailure, DiffResult
from infra.engine.providers.client import OperationError, ProviderClient, preview_outputs
from infra.engine.state.snapshot import ResourceState
from infra.engine.steps.context import DeploymentContext
from infra.engine.steps.deletion import Deletion
from infra.engine.steps.diff import Difference, compare, describe, keep_old
from infra.engine.steps.executor import Halted, Step
from infra.engine.steps.registrations import ResolvedRegistration, state_of
from infra.engine.urns import is_default_provider, package_of, parse_urn, provider_urn
from infra.engine.values import has_secret, has_unknown, same_value
from infra.property_paths import Path, covers, parse_path, render_path


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


def apply_ignore_changes(new: ResourceState, old: ResourceState, ignored: Sequence[str]) -> dict[str, Any]:
    """The new inputs with the properties that are to be ignored as they were."""
    inputs: Any = dict(new.inputs)
    for text in ignored:
        inputs = keep_old(_path(text, "ignore_changes", new), inputs, old.inputs)
    return dict(inputs)


def choose_step(
    *,
    old: ResourceState,
    new: ResourceState,
    client: ProviderClient,
    delete_before_replace: bool | None,
    replaced: frozenset[str],
    pending: str | None,
) -> Step:
    """Compare a resource with its old self; `new.inputs` are checked. `replaced` has the URNs replaced in this run.

    `pending` is what a run that was cut short was doing to it.
    """
    forced = forced_replacement(old, new, replaced)
    # The provider is asked even about equal inputs: it may see that what it made is no longer there.
    diff = DiffResult(changes=True) if forced else client.diff(old, new.inputs)
    differences = compare(old.inputs, new.inputs)
    replaces = [_path(text, "replaces", new) for text in diff.replaces]
    replaces += [
        pattern
        for text in new.extra.get("replaceOnChanges", ())
        if any(covers(pattern := _path(text, "replace_on_changes", new), item.path) for item in differences)
    ]
    hidden = [_path(text, "hide_diffs", new) for text in new.extra.get("hideDiff", ())]
    changes = describe(differences, replaces=replaces, hidden=hidden)
    changed = bool(differences) if diff.changes is None else diff.changes or bool(diff.replaces)
    if forced or (changed and replaces):
        first = diff.delete_before_replace if delete_before_replace is None else delete_before_replace
        reason = forced or _replacement_reason(replaces, differences)
        return Step(op="replace", changes=changes, reason=reason, delete_before_replace=first)
    unfinished = _unfinished(old, pending)
    if changed or unfinished:
        reason = unfinished or ("" if differences else "its provider reports that it is not as recorded")
        return Step(op="update", changes=changes, reason=reason)
    return Step(op="same")


def forced_replacement(old: ResourceState, new: ResourceState, replaced: frozenset[str]) -> str:
    """Why the resource must be replaced whatever its properties say; empty when it need not."""
    if old.pending_replacement:
        return "its former self is deleted already"
    if old.extra.get("taint"):
        return "it is marked for replacement"
    if _trigger_changed(new.extra.get("replacementTrigger"), old.extra.get("replacementTrigger")):
        return "its replacement trigger changed"
    for urn in (*new.extra.get("replaceWith", ()), *filter(None, [new.extra.get("deletedWith")])):
        if urn in replaced:
            return f"{parse_urn(urn).name} is replaced"
    if _provider_changed(old.provider, new.provider):
        return "its provider changed"
    return ""


def check_options(new: ResourceState) -> None:
    """Raises EngineError on options that this engine cannot honour."""
    if has_secret(new.extra.get("replacementTrigger")):
        # The trigger is kept as it is, beside the properties, where nothing would encrypt it.
        raise EngineError(f"{parse_urn(new.urn).name}: replacement_trigger is a secret: give a value made from a hash")


def _trigger_changed(new: Any, old: Any) -> bool:
    if has_unknown(new):
        return True
    return new is not None and old is not None and not same_value(new, old)


def _provider_changed(old: str | None, new: str | None) -> bool:
    """Between default providers a resource moves freely: they differ only in the SDK's version."""
    if old is None or new is None or provider_urn(old) == provider_urn(new):
        return False
    both_default = is_default_provider(provider_urn(old)) and is_default_provider(provider_urn(new))
    same_package = package_of(parse_urn(provider_urn(old)).type) == package_of(parse_urn(provider_urn(new)).type)
    return not (both_default and same_package)


def _replacement_reason(replaces: Sequence[Path], differences: Sequence[Difference]) -> str:
    unseen = [path for path in replaces if not any(covers(path, item.path) for item in differences)]
    if not unseen or len(unseen) < len(replaces):
        return ""
    return f"its provider asks for it because of {', '.join(render_path(path) for path in unseen)}"


def _unfinished(old: ResourceState, pending: str | None) -> str:
    if old.init_errors:
        return f"the last change failed: {old.init_errors[0].splitlines()[0]}"
    return "the last change was cut short" if pending == "updating" else ""


def _path(text: str, option: str, state: ResourceState) -> Path:
    try:
        return parse_path(text)
    except ValueError as error:
        raise EngineError(f"{parse_urn(state.urn).name}: {option}: {error}") from None
