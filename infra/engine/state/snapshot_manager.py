"""The state of the stack while it changes: what stands now, in an order that is valid at every moment.

Each change is written before the next begins. After a kill the file has either the state before an operation, with
the operation noted as pending, or the state after it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from infra.engine.state.checkpoint import timestamp
from infra.engine.state.snapshot import PendingOperation, ResourceState, Snapshot
from infra.engine.urns import provider_urn

Save = Callable[[Snapshot], None]


class SnapshotManager:
    """Resources of this run (in the order of completion, so after what they depend on), then those of the last run
    that nothing has touched yet. Safe for several threads; every method that changes something saves.
    """

    def __init__(self, snapshot: Snapshot, save: Save) -> None:
        self._snapshot = snapshot
        self._save = save
        self._lock = threading.RLock()
        self._old = [replace(resource) for resource in snapshot.resources]
        self._new: list[ResourceState] = []
        self._pending: list[PendingOperation] = []
        self._inherited = list(snapshot.pending)
        self._dirty = False

    def snapshot(self) -> Snapshot:
        with self._lock:
            return Snapshot(
                stack=self._snapshot.stack,
                project=self._snapshot.project,
                resources=[*self._new, *self._old],
                pending=[*self._inherited, *self._pending],
                metadata=self._snapshot.metadata,
            )

    def old(self, urn: str) -> ResourceState | None:
        """The live resource of the last run that nothing has touched yet."""
        with self._lock:
            return next((resource for resource in self._old if resource.urn == urn and not resource.delete), None)

    def new(self, urn: str) -> ResourceState | None:
        """The resource as this run left it."""
        with self._lock:
            return next((resource for resource in self._new if resource.urn == urn), None)

    def untouched(self) -> list[ResourceState]:
        """What is left of the last run, in dependency order: after the program, what is to be deleted."""
        with self._lock:
            return list(self._old)

    def pending_operation(self, urn: str) -> str | None:
        """What an earlier run was doing to the resource when it ended: ``creating`` and so on."""
        with self._lock:
            return next((pending.kind for pending in self._inherited if pending.resource.urn == urn), None)

    def clear_pending_operations(self, urn: str | None = None) -> None:
        """Drop the note of an earlier run about a resource, or all of them: what it left open is dealt with."""
        with self._lock:
            kept = [pending for pending in self._inherited if urn not in (None, pending.resource.urn)]
            self._dirty = self._dirty or len(kept) != len(self._inherited)
            self._inherited = kept

    def begin(self, resource: ResourceState, kind: str) -> PendingOperation:
        """Note that an operation begins."""
        operation = PendingOperation(resource=resource, kind=kind)
        with self._lock:
            self._pending.append(operation)
            self._write()
        return operation

    def end(self, operation: PendingOperation | None) -> None:
        """Note that an operation failed and left nothing to record."""
        with self._lock:
            self._drop(operation)
            self._write()

    def put(
        self, new: ResourceState, old: ResourceState | None = None, *, operation: PendingOperation | None = None
    ) -> None:
        """Record the resource in place of its old self, if it has one."""
        with self._lock:
            self._drop(operation)
            changed = operation is not None or old != new
            if old is not None:
                self._remove(old)
            self._new.append(new)
            if changed:
                self._write()

    def supersede(self, new: ResourceState, old: ResourceState, *, operation: PendingOperation | None) -> None:
        """Record the successor of `old`, which stays until its deletion."""
        with self._lock:
            self._drop(operation)
            old.delete = True
            self._new.append(new)
            self._write()

    def touch(self, change: Callable[[], None], *, operation: PendingOperation | None = None) -> None:
        """Change a recorded resource in place."""
        with self._lock:
            self._drop(operation)
            change()
            self._write()

    def remove(self, resource: ResourceState, *, operation: PendingOperation | None = None) -> None:
        with self._lock:
            self._drop(operation)
            self._remove(resource)
            self._write()

    def rename(self, old_urn: str, new_urn: str) -> None:
        """Point at `new_urn` whatever pointed at `old_urn`. Saved with the next change, which records the new URN."""

        def swap(urn: str) -> str:
            return new_urn if urn == old_urn else urn

        with self._lock:
            for resource in self._old:
                resource.parent = swap(resource.parent) if resource.parent else None
                resource.dependencies = [swap(urn) for urn in resource.dependencies]
                resource.property_dependencies = {
                    key: [swap(urn) for urn in urns] for key, urns in resource.property_dependencies.items()
                }
                if resource.provider and provider_urn(resource.provider) == old_urn:
                    resource.provider = f"{new_urn}{resource.provider.removeprefix(old_urn)}"
                if resource.extra.get("deletedWith") == old_urn:
                    resource.extra = {**resource.extra, "deletedWith": new_urn}

    def flush(self) -> None:
        """Write what has not been written, also because a save failed."""
        with self._lock:
            if self._dirty:
                self._write()

    def _drop(self, operation: PendingOperation | None) -> None:
        if operation is not None:
            self._pending = [pending for pending in self._pending if pending is not operation]

    def _remove(self, resource: ResourceState) -> None:
        self._old = [other for other in self._old if other is not resource]
        self._new = [other for other in self._new if other is not resource]

    def _write(self) -> None:
        self._dirty = True
        self._save(self.snapshot())
        self._dirty = False


def now() -> str:
    """The time in the form of a checkpoint."""
    return timestamp(datetime.now(UTC))
