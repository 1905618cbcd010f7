"""What the parts of one deployment share."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from infra.engine.display.events import Kind
from infra.engine.display.reporter import Reporter
from infra.engine.providers.client import OperationError
from infra.engine.providers.registry import Providers, UnsupportedError
from infra.engine.state.snapshot import ResourceState
from infra.engine.state.snapshot_manager import SnapshotManager
from infra.engine.steps.executor import StepExecutor
from infra.engine.steps.hooks import HookRunner
from infra.engine.steps.registrations import Registrations
from infra.engine.urns import package_of


@dataclass(kw_only=True)
class DeploymentContext:
    kind: Kind
    parallel: int
    snapshots: SnapshotManager
    reporter: Reporter
    registrations: Registrations
    providers: Providers
    executor: StepExecutor
    hooks: HookRunner
    halt: threading.Event
    """Set when nothing new may begin: something failed, or the user wants to stop."""
    missing: dict[str, str] = field(default_factory=dict)
    """Packages (or single types) without a provider, each with a type that needs it."""
    replaced: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    """URNs that are deleted in this run."""
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def dry_run(self) -> bool:
        return self.kind == "preview"

    @contextmanager
    def locked(self, urn: str) -> Iterator[None]:
        """Keep the resource for this thread: a replacement may delete others that their own threads register."""
        with self._lock:
            lock = self._locks.setdefault(urn, threading.Lock())
        with lock:
            yield

    def fail(self, urn: str | None, message: str) -> OperationError:
        """Report a failure that came before any operation; the error to raise."""
        if not self.dry_run:
            self.halt.set()
        self.reporter.failed(message, urn=urn)
        return OperationError(message)

    def report_missing_providers(self, states: Sequence[ResourceState]) -> None:
        """Note that there are no providers for the resources. Outside of a preview it is a failure at once."""
        names = {self._missing_name(state.type): state.type for state in states}
        with self._lock:
            self.missing.update(names)
        if names and not self.dry_run:
            self.fail(None, str(UnsupportedError(names)))

    def require_provider(self, state: ResourceState) -> None:
        """As `report_missing_providers`, for one resource; raises OperationError outside of a preview."""
        self.report_missing_providers([state])
        if not self.dry_run:
            raise OperationError(f"no provider for {state.type}")

    def _missing_name(self, type_: str) -> str:
        """The package, or where that has a provider the type that it does not know."""
        package = package_of(type_)
        return package if self.providers.get(package) is None else type_
