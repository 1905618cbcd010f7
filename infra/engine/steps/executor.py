"""The operations on one resource: each noted before it begins, recorded when it ends, with hooks and events around."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from infra.engine.display.reporter import Reporter, Step
from infra.engine.program.callbacks import HookCall
from infra.engine.program.hooks import HookRunner
from infra.engine.providers.boundary import Bound, OperationError, foreseen
from infra.engine.state.resources import PendingOperation, ResourceState
from infra.engine.state.snapshot import Ledger, now
from infra.engine.steps.decision import Decision
from infra.engine.urns import is_default_provider


class Halted(Exception):
    """Something failed, or the user wants to stop: this operation was not begun."""


class Operations:
    """Makes, changes and removes single resources for one run. Every method may run in several threads at once.

    Methods raise OperationError when the resource failed, after having reported it, and Halted when they did not begin.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        reporter: Reporter,
        hooks: HookRunner,
        halt: threading.Event,
        dry_run: bool,
        parallel: int,
    ) -> None:
        self._ledger = ledger
        self._reporter = reporter
        self._hooks = hooks
        self._halt = halt
        self._dry_run = dry_run
        self._slots = threading.BoundedSemaphore(parallel)

    def create(self, new: ResourceState, bound: Bound, decision: Decision, *, old: ResourceState | None = None) -> None:
        """Make the resource. An `old` self is kept for its later deletion, or dropped where it is gone already."""
        step = self._step(new, decision)
        call = HookCall(urn=new.urn, id="", new_inputs=new.inputs)
        new.id, new.outputs = None, {}
        with self._operation(step):
            self._hooks.before("BeforeCreate", new, call)
            if self._dry_run:
                before = old.outputs if old else {}
                new.outputs = foreseen(new.inputs, secret=new.additional_secret_outputs, before=before)
                self._record_new(new, old, None)
            else:
                with self._pending(new, "creating") as operation:
                    made = self._hooks.retrying("create", new, call, lambda: bound.create(new))
                    if not made.id:
                        raise OperationError("the provider returned no id")
                    new.id, new.outputs = made.id, dict(made.outputs)
                    new.created = new.modified = now()
                    self._record_new(new, old, operation)
            self._hooks.after("AfterCreate", new, replace(call, id=new.id or "", new_outputs=new.outputs))

    def _record_new(self, new: ResourceState, old: ResourceState | None, operation: PendingOperation | None) -> None:
        if old is None or old.pending_replacement or old.external:
            self._ledger.put(new, old, operation=operation)
        else:
            self._ledger.supersede(new, old, operation=operation)

    def update(self, new: ResourceState, old: ResourceState, bound: Bound, decision: Decision) -> None:
        """Change the resource in place. A failure leaves the old state with the error, so that the next run retries."""
        step = self._step(new, decision)
        call = HookCall(
            urn=new.urn,
            id=new.id or "",
            new_inputs=new.inputs,
            old_inputs=old.inputs,
            old_outputs=old.outputs,
        )
        with self._operation(step):
            self._hooks.before("BeforeUpdate", new, call)
            if self._dry_run:
                new.outputs = foreseen(new.inputs, secret=new.additional_secret_outputs, before=old.outputs)
                self._ledger.put(new, old)
            else:
                with self._pending(old, "updating") as operation:
                    try:
                        new.outputs = self._hooks.retrying("update", new, call, lambda: bound.update(new, old))
                    except OperationError as error:
                        message = str(error)
                        self._ledger.touch(lambda: setattr(old, "init_errors", [message]), operation=operation)
                        raise
                    new.modified = now()
                    self._ledger.put(new, old, operation=operation)
            self._hooks.after("AfterUpdate", new, replace(call, new_outputs=new.outputs))

    def same(self, new: ResourceState, old: ResourceState) -> None:
        """Record the resource with what the program now says about it."""
        self._ledger.put(new, old)
        self._step(new, Decision(op="same")).finish()

    def delete(
        self,
        old: ResourceState,
        bound: Bound | None,
        *,
        replacing: bool,
        keep_for_replacement: bool = False,
        reason: str = "",
    ) -> None:
        """Remove the resource. With no `bound` it only leaves the state: nothing stands behind it.

        With `keep_for_replacement` it stays in the state, marked as gone, until its successor is made.
        """
        internal = is_default_provider(old.urn)
        step = Step(
            reporter=self._reporter,
            urn=old.urn,
            parent=old.parent,
            op="delete",
            replacing=replacing,
            internal=internal,
            reason=reason,
        )
        call = HookCall(urn=old.urn, id=old.id or "", old_inputs=old.inputs, old_outputs=old.outputs)
        with self._operation(step):
            self._hooks.before("BeforeDelete", old, call)
            operation = None
            if bound is not None and not self._dry_run:
                with self._pending(old, "deleting") as operation:
                    self._hooks.retrying("delete", old, call, lambda: bound.delete(old))
                    self._record_gone(old, operation, keep_for_replacement=keep_for_replacement)
            else:
                self._record_gone(old, operation, keep_for_replacement=keep_for_replacement)
            self._hooks.after("AfterDelete", old, call)

    def _record_gone(
        self, old: ResourceState, operation: PendingOperation | None, *, keep_for_replacement: bool
    ) -> None:
        if keep_for_replacement:
            self._ledger.touch(lambda: setattr(old, "pending_replacement", True), operation=operation)
        else:
            self._ledger.remove(old, operation=operation)

    def _step(self, new: ResourceState, decision: Decision) -> Step:
        return Step(
            reporter=self._reporter,
            urn=new.urn,
            parent=new.parent,
            op=decision.op,
            changes=decision.changes,
            reason=decision.reason,
        )

    @contextmanager
    def _operation(self, step: Step) -> Iterator[None]:
        """One operation under way, of the many that may be; reports how it ends."""
        with self._slots:
            if self._halt.is_set():
                raise Halted
            # Timed from here: waiting for a free slot is not the resource's doing.
            step = replace(step, began=time.monotonic()).start()
            try:
                yield
            except OperationError as error:
                if not self._dry_run:
                    self._halt.set()
                step.fail(str(error))
                if error.details:
                    self._reporter.say("debug", error.details, urn=step.urn)
                raise
            self._ledger.forget_cut_short(step.urn)
            step.finish()

    @contextmanager
    def _pending(self, resource: ResourceState, kind: str) -> Iterator[PendingOperation]:
        operation = self._ledger.begin(resource, kind)
        try:
            yield operation
        except OperationError:
            self._ledger.end(operation)
            raise
