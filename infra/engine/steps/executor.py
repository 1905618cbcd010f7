"""Executes steps: each is noted in the state before it begins and recorded when it ends; hooks and events around it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from infra.engine.display.events import Change
from infra.engine.display.reporter import Reporter, StepProgress
from infra.engine.program.callbacks import HookCall
from infra.engine.providers.client import OperationError, ProviderClient, preview_outputs
from infra.engine.state.snapshot import PendingOperation, ResourceState
from infra.engine.state.snapshot_manager import SnapshotManager, now
from infra.engine.steps.hooks import HookRunner
from infra.engine.urns import is_default_provider


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is to be done with a resource, and why."""

    op: Literal["same", "create", "update", "replace"]
    changes: tuple[Change, ...] = ()
    reason: str = ""
    delete_before_replace: bool = False
    """For a replacement: the old resource goes before the new one is made."""


class Halted(Exception):
    """Something failed, or the user wants to stop: this operation was not begun."""


class StepExecutor:
    """Makes, changes and removes single resources for one run. Every method may run in several threads at once.

    Methods raise OperationError when the resource failed, after having reported it, and Halted when they did not begin.
    """

    def __init__(
        self,
        *,
        snapshots: SnapshotManager,
        reporter: Reporter,
        hooks: HookRunner,
        halt: threading.Event,
        dry_run: bool,
        parallel: int,
    ) -> None:
        self._snapshots = snapshots
        self._reporter = reporter
        self._hooks = hooks
        self._halt = halt
        self._dry_run = dry_run
        self._slots = threading.BoundedSemaphore(parallel)

    def create(
        self, new: ResourceState, client: ProviderClient, step: Step, *, old: ResourceState | None = None
    ) -> None:
        """Make the resource. An `old` self is kept for its later deletion, or dropped where it is gone already."""
        progress = self._progress(new, step)
        call = HookCall(urn=new.urn, id="", new_inputs=new.inputs)
        new.id, new.outputs = None, {}
        with self._operation(progress):
            self._hooks.before("BeforeCreate", new, call)
            if self._dry_run:
                before = old.outputs if old else {}
                new.outputs = preview_outputs(new.inputs, secret=new.additional_secret_outputs, before=before)
                self._record_new(new, old, None)
            else:
                with self._pending(new, "creating") as operation:
                    made = self._hooks.retrying("create", new, call, lambda: client.create(new))
                    if not made.id:
                        raise OperationError("the provider returned no id")
                    new.id, new.outputs = made.id, dict(made.outputs)
                    new.created = new.modified = now()
                    self._record_new(new, old, operation)
            self._hooks.after("AfterCreate", new, replace(call, id=new.id or "", new_outputs=new.outputs))

    def _record_new(self, new: ResourceState, old: ResourceState | None, operation: PendingOperation | None) -> None:
        if old is None or old.pending_replacement or old.external:
            self._snapshots.put(new, old, operation=operation)
        else:
            self._snapshots.supersede(new, old, operation=operation)

    def update(self, new: ResourceState, old: ResourceState, client: ProviderClient, step: Step) -> None:
        """Change the resource in place. A failure leaves the old state with the error, so that the next run retries."""
        progress = self._progress(new, step)
        call = HookCall(
            urn=new.urn,
            id=new.id or "",
            new_inputs=new.inputs,
            old_inputs=old.inputs,
            old_outputs=old.outputs,
        )
        with self._operation(progress):
            self._hooks.before("BeforeUpdate", new, call)
            if self._dry_run:
                new.outputs = preview_outputs(new.inputs, secret=new.additional_secret_outputs, before=old.outputs)
                self._snapshots.put(new, old)
            else:
                with self._pending(old, "updating") as operation:
                    try:
                        new.outputs = self._hooks.retrying("update", new, call, lambda: client.update(new, old))
                    except OperationError as error:
                        message = str(error)
                        self._snapshots.touch(lambda: setattr(old, "init_errors", [message]), operation=operation)
                        raise
                    new.modified = now()
                    self._snapshots.put(new, old, operation=operation)
            self._hooks.after("AfterUpdate", new, replace(call, new_outputs=new.outputs))

    def same(self, new: ResourceState, old: ResourceState) -> None:
        """Record the resource with what the program now says about it."""
        self._snapshots.put(new, old)
        self._progress(new, Step(op="same")).finish()

    def delete(
        self,
        old: ResourceState,
        client: ProviderClient | None,
        *,
        replacing: bool,
        keep_for_replacement: bool = False,
        reason: str = "",
    ) -> None:
        """Remove the resource. With no `client` it only leaves the state: nothing stands behind it.

        With `keep_for_replacement` it stays in the state, marked as gone, until its successor is made.
        """
        internal = is_default_provider(old.urn)
        progress = StepProgress(
            reporter=self._reporter,
            urn=old.urn,
            parent=old.parent,
            op="delete",
            replacing=replacing,
            internal=internal,
            reason=reason,
        )
        call = HookCall(urn=old.urn, id=old.id or "", old_inputs=old.inputs, old_outputs=old.outputs)
        with self._operation(progress):
            self._hooks.before("BeforeDelete", old, call)
            operation = None
            if client is not None and not self._dry_run:
                with self._pending(old, "deleting") as operation:
                    self._hooks.retrying("delete", old, call, lambda: client.delete(old))
                    self._record_gone(old, operation, keep_for_replacement=keep_for_replacement)
            else:
                self._record_gone(old, operation, keep_for_replacement=keep_for_replacement)
            self._hooks.after("AfterDelete", old, call)

    def _record_gone(
        self, old: ResourceState, operation: PendingOperation | None, *, keep_for_replacement: bool
    ) -> None:
        if keep_for_replacement:
            self._snapshots.touch(lambda: setattr(old, "pending_replacement", True), operation=operation)
        else:
            self._snapshots.remove(old, operation=operation)

    def _progress(self, new: ResourceState, step: Step) -> StepProgress:
        return StepProgress(
            reporter=self._reporter,
            urn=new.urn,
            parent=new.parent,
            op=step.op,
            changes=step.changes,
            reason=step.reason,
        )

    @contextmanager
    def _operation(self, progress: StepProgress) -> Iterator[None]:
        """One operation under way, of the many that may be; reports how it ends."""
        with self._slots:
            if self._halt.is_set():
                raise Halted
            # Timed from here: waiting for a free slot is not the resource's doing.
            progress = replace(progress, began=time.monotonic()).start()
            try:
                yield
            except OperationError as error:
                if not self._dry_run:
                    self._halt.set()
                progress.fail(str(error))
                if error.details:
                    self._reporter.say("debug", error.details, urn=progress.urn)
                raise
            self._snapshots.clear_pending_operations(progress.urn)
            progress.finish()

    @contextmanager
    def _pending(self, resource: ResourceState, kind: str) -> Iterator[PendingOperation]:
        operation = self._snapshots.begin(resource, kind)
        try:
            yield operation
        except OperationError:
            self._snapshots.end(operation)
            raise
