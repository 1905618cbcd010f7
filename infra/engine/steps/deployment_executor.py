"""One pass over a stack: answers the program's registrations by bringing each resource to its goal.

A preview is the same pass with nothing done and nothing saved, and it goes on after an error, to find them all.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from typing import Any, Literal

from infra.engine.display.events import OutputsKnown, Severity
from infra.engine.display.reporter import StepProgress
from infra.engine.errors import EngineError
from infra.engine.program.callbacks import HookCall
from infra.engine.program.monitor import InvokeRequest, RegisterResult
from infra.engine.program.registration import Registration
from infra.engine.providers.client import OperationError
from infra.engine.providers.registry import provider_inputs, provider_outputs
from infra.engine.state.snapshot import ResourceState
from infra.engine.state.snapshot_manager import now
from infra.engine.steps.context import DeploymentContext
from infra.engine.steps.deletion import Deletion
from infra.engine.steps.diff import compare, describe
from infra.engine.steps.executor import Halted
from infra.engine.steps.generator import StepGenerator
from infra.engine.steps.registrations import ResolvedRegistration, state_of
from infra.engine.urns import STACK_TYPE, is_provider, package_of
from infra.engine.values import has_unknown, mask, reveal


class DeploymentExecutor:
    """The handler of a preview, an up or a destroy that runs the program."""

    def __init__(self, context: DeploymentContext) -> None:
        self._context = context
        self._deletion = Deletion(context)
        self._generator = StepGenerator(context, self._deletion)
        self._lock = threading.Lock()
        self._unfinished: dict[str, tuple[StepProgress, ResourceState, HookCall]] = {}
        """Components that are being created or updated, until their outputs are known."""
        self._stack_before: dict[str, Any] = {}
        self._stack: ResourceState | None = None

    def register(self, goal: Registration) -> RegisterResult:
        context = self._context
        resolved = context.registrations.resolve(goal)
        if context.kind == "destroy":
            return self._from_state(resolved)
        if context.halt.is_set():
            return RegisterResult(urn=resolved.urn, result="skip")
        try:
            with context.locked(resolved.old_urn):
                if goal.custom and not is_provider(goal.type):
                    return self._generator.register(resolved)
                return self._register_unmanaged(resolved)
        except OperationError:
            return RegisterResult(urn=resolved.urn, result="fail")
        except Halted:
            return RegisterResult(urn=resolved.urn, result="skip")

    def _from_state(self, resolved: ResolvedRegistration) -> RegisterResult:
        """In a destroy the program runs for its hooks alone: it sees what there is, and nothing is made."""
        old = resolved.old
        if old is None:
            return RegisterResult(urn=resolved.urn, unknown=True)
        return RegisterResult(urn=resolved.urn, id=old.id or "", outputs=old.outputs)

    def _register_unmanaged(self, resolved: ResolvedRegistration) -> RegisterResult:
        """A component, the stack, or an explicit provider: it stands in the state, and no provider is called."""
        context, goal, old = self._context, resolved.goal, resolved.old
        if goal.remote:
            message = f"{goal.name} is a component of the provider plugin {goal.package}: use the Pulumi CLI"
            raise context.fail(resolved.urn, message)
        new = state_of(resolved, provider=None)
        if goal.custom:
            if context.providers.get(goal.package) is None:
                context.require_provider(new)
            new.inputs = provider_inputs(goal, goal.inputs)
            new.id = old.id if old and old.id else str(uuid.uuid4())
            new.outputs = provider_outputs(new.inputs)
            new.created = new.created or now()
        differences = compare(old.inputs if old else {}, new.inputs)
        op: Literal["create", "update", "same"] = "create" if old is None else "update" if differences else "same"
        self._begin(new, old, op, changes=describe(differences) if old else ())
        self._record(new, old)
        outputs = new.outputs if goal.custom else dict(goal.inputs)
        return RegisterResult(urn=new.urn, id=new.id or "", outputs=outputs)

    def _begin(
        self,
        new: ResourceState,
        old: ResourceState | None,
        op: Literal["create", "update", "same"],
        *,
        changes: Any,
    ) -> None:
        context = self._context
        if new.type == STACK_TYPE:
            self._stack, self._stack_before = new, dict(old.outputs) if old else {}
        progress = StepProgress(reporter=context.reporter, urn=new.urn, parent=new.parent, op=op, changes=changes)
        if op == "same":
            progress.finish()
            return
        call = HookCall(urn=new.urn, id="", new_inputs=new.inputs, old_inputs=old.inputs if old else None)
        progress.start()
        try:
            context.hooks.before("BeforeCreate" if op == "create" else "BeforeUpdate", new, call)
        except OperationError as error:
            if not context.dry_run:
                context.halt.set()
            progress.fail(str(error))
            raise
        if new.custom:
            progress.finish()
            return
        with self._lock:
            self._unfinished[new.urn] = (progress, new, call)

    def _record(self, new: ResourceState, old: ResourceState | None) -> None:
        """What becomes of a record alone; a managed resource that it was before is still to be deleted."""
        managed = old is not None and old.custom and not old.external and not is_provider(old.type)
        if old is not None and managed:
            self._context.snapshots.supersede(new, old, operation=None)
        else:
            self._context.snapshots.put(new, old)

    def register_outputs(self, urn: str, outputs: Mapping[str, Any]) -> None:
        context = self._context
        if context.kind == "destroy":
            return
        state = context.snapshots.new(urn)
        incomplete = context.halt.is_set() or (not context.dry_run and has_unknown(dict(outputs)))
        if state is None or incomplete:
            # Outputs of what failed or was not begun are missing here: the last good ones stay.
            return
        if state.outputs != dict(outputs):
            context.snapshots.touch(lambda: setattr(state, "outputs", dict(outputs)))
        if state.type != STACK_TYPE:
            # The stack is made when all in it is, which may be later than its outputs.
            self._finish_component(urn)

    def _finish_component(self, urn: str) -> None:
        with self._lock:
            opened = self._unfinished.pop(urn, None)
        if opened is None:
            return
        progress, state, call = opened
        self._context.hooks.after("AfterCreate" if progress.op == "create" else "AfterUpdate", state, call)
        progress.finish()

    def read(self, goal: Registration, id_: str) -> RegisterResult:
        context = self._context
        resolved = context.registrations.resolve(goal)
        if context.kind == "destroy":
            return self._from_state(resolved)
        if context.halt.is_set():
            # The SDK has no word for a read that was skipped: the program must not go on as if it had the outputs.
            raise OperationError(f"{goal.name} was not read")
        new = state_of(resolved, provider=context.providers.reference(resolved.goal))
        new.external, new.id = True, id_
        client = context.providers.client(new)
        if client is None:
            context.require_provider(new)
            return RegisterResult(urn=new.urn, id=id_, outputs=new.inputs)
        progress = StepProgress(reporter=context.reporter, urn=new.urn, parent=new.parent, op="read").start()
        try:
            found = client.read(new)
            if found is None:
                raise OperationError(f"there is no {new.type} with the id {id_!r}")
        except OperationError as error:
            progress.fail(str(error))
            raise
        new.id, new.outputs = found.id, dict(found.outputs)
        self._record(new, resolved.old)
        progress.finish()
        return RegisterResult(urn=new.urn, id=found.id, outputs=new.outputs)

    def invoke(self, request: InvokeRequest) -> Mapping[str, Any] | None:
        if has_unknown(dict(request.args)):
            return None
        provider = self._context.providers.get(package_of(request.token))
        if provider is None:
            raise EngineError(f"the program calls {request.token}, which needs a provider plugin: use the Pulumi CLI")
        return provider.invoke(request.token, reveal(dict(request.args)))

    def finish(self) -> None:
        """The program has registered all that it wants: the rest goes, if nothing failed."""
        context = self._context
        for urn in list(self._unfinished):
            self._finish_component(urn)
        failed = bool(context.reporter.failures) and not context.dry_run
        if not context.halt.is_set() and not failed:
            self._deletion.delete_unregistered()

    def abandon(self) -> None:
        self._context.halt.set()

    def log(self, severity: Severity, message: str, *, urn: str | None, ephemeral: bool) -> None:
        self._context.reporter.say(severity, message, urn=urn, ephemeral=ephemeral)

    def delete_all(self) -> None:
        """A destroy without the program."""
        self._deletion.delete_unregistered()

    def report_outputs(self) -> Mapping[str, Any]:
        """Emit the stack's outputs, and return them; they still carry their marks."""
        outputs = self._stack.outputs if self._stack else {}
        changes = describe(compare(self._stack_before, outputs))
        self._context.reporter.emit(OutputsKnown(outputs=mask(outputs), changes=changes))
        return outputs
