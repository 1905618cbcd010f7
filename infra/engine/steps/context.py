"""What the parts of one run share."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from infra.engine.display.events import Kind
from infra.engine.display.reporter import Reporter
from infra.engine.providers.client import OperationError
from infra.engine.providers.default_providers import Sources
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
    dry_run: bool
    parallel: int
    snapshots: SnapshotManager
    reporter: Reporter
    registrations: Registrations
    providers: Providers
    sources: Sources
    executor: StepExecutor
    hooks: HookRunner
    halt: threading.Event
    """Set when nothing new may begin: something failed, or the user wants to stop."""
    missing: dict[str, str] = field(default_factory=dict)
    """Packages (or single types) without a provider, each with a type that needs it."""
    replaced: set[str] = field(default_factory=set)
    going: set[str] = field(default_factory=set)
    """URNs that are deleted in this run."""
    _claims: dict[str, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def claim(self, urn: str) -> Iterator[None]:
        """Keep the resource for this thread: its replacement may delete others, which their own threads then see."""
        with self._lock:
            lock = self._claims.setdefault(urn, threading.Lock())
        with lock:
            yield

    def fail(self, urn: str | None, message: str) -> OperationError:
        """Report a failure that came before any operation; the error to raise."""
        if not self.dry_run:
            self.halt.set()
        self.reporter.failed(message, urn=urn)
        return OperationError(message)

    def lacks(self, state: ResourceState) -> None:
        """Note that there is no provider for the resource. Outside of a preview that is a failure at once."""
        self.lack_all([state])
        if not self.dry_run:
            raise OperationError(f"no provider for {state.type}")

    def lack_all(self, states: Sequence[ResourceState]) -> None:
        """Note that there are no providers for the resources, and outside of a preview report it."""
        names = {self._lacking(state.type): state.type for state in states}
        with self._lock:
            self.missing.update(names)
        if names and not self.dry_run:
            self.fail(None, str(UnsupportedError(names)))

    def _lacking(self, type_: str) -> str:
        """What to call missing: the package, or where that has a provider the type that it does not know."""
        package = package_of(type_)
        return package if self.providers.get(package) is None else type_
