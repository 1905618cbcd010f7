"""Preview, up and destroy of one stack, in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.engine.display.events import DeploymentFinished, DeploymentStarted, EventSink, Failure, Kind, NullSink
from infra.engine.display.reporter import Reporter
from infra.engine.errors import EngineError
from infra.engine.interrupts import graceful_stop
from infra.engine.program.callbacks import Hooks
from infra.engine.program.monitor import DEFAULT_PARALLEL, ResourceMonitor, Target
from infra.engine.program.runner import ProgramError, program_environment, run_program
from infra.engine.project.project import ProgramConfig, Project
from infra.engine.providers.client import OperationError
from infra.engine.providers.registry import ProviderRegistry, Providers, UnsupportedError
from infra.engine.state.snapshot import PendingOperation, Snapshot
from infra.engine.state.snapshot_manager import SnapshotManager
from infra.engine.steps.context import DeploymentContext
from infra.engine.steps.deployment_executor import DeploymentExecutor
from infra.engine.steps.executor import StepExecutor
from infra.engine.steps.hooks import HookRunner
from infra.engine.steps.registrations import Registrations
from infra.engine.urns import parse_urn
from infra.engine.values import same_value


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a deployment came to. `outputs` still carry their secret marks."""

    succeeded: bool
    changes: Mapping[str, int]
    """By operation (same, create, update, replace, delete, read) how many resources."""
    outputs: Mapping[str, Any]
    duration: float
    """Seconds."""
    failures: tuple[Failure, ...] = field(default=())
    interrupted: bool = False


class Deployment:
    """One stack and its state. `save` is called with the whole state after every step and before every operation.

    Failures are reported as events and in the result; nothing is raised for them. The first Ctrl-C finishes what is
    under way and begins nothing new, the second ends the process; what was under way is then pending in the state.
    """

    def __init__(
        self,
        *,
        project: Project,
        stack: str,
        config: ProgramConfig,
        snapshot: Snapshot,
        save: Callable[[Snapshot], None],
        sink: EventSink,
        providers: ProviderRegistry | None = None,
        parallel: int = DEFAULT_PARALLEL,
    ) -> None:
        self._project = project
        self._stack = stack
        self._config = config
        self._snapshot = snapshot
        self._save = save
        self._sink = sink
        self._registry = providers or ProviderRegistry.standard()
        self._parallel = parallel
        self._halt = threading.Event()
        self._interrupted = False
        self._previewed = False
        """Whether a preview of this very state has found no problem."""

    @property
    def snapshot(self) -> Snapshot:
        """The state as the last run left it."""
        return self._snapshot

    def cancel(self) -> None:
        """End a run in order, as the first Ctrl-C does; may be called from any thread."""
        self._interrupted = True
        self._halt.set()

    def preview(self) -> Result:
        """What `up` would do; nothing is changed or saved."""
        return self._run("preview", self._sink)

    def up(self) -> Result:
        """Bring the stack to what its program says.

        What can be known to be impossible (a missing provider, a protected resource to be deleted, refused inputs) is
        found before anything is changed.
        """
        if not self._previewed:
            problems = self._preflight()
            if problems:
                return self._refused("up", problems)
        return self._run("up", self._sink)

    def destroy(self) -> Result:
        """Delete all resources of the stack; refused as a whole when one of them is protected."""
        return self._run("destroy", self._sink)

    def _preflight(self) -> tuple[Failure, ...]:
        return self._run("preview", NullSink()).failures

    def _refused(self, kind: Kind, problems: tuple[Failure, ...]) -> Result:
        began = time.monotonic()
        reporter = Reporter(self._sink)
        reporter.emit(DeploymentStarted(kind=kind, project=self._project.name, stack=self._stack))
        for problem in problems:
            reporter.failed(problem.message, urn=problem.urn)
        return self._finished(kind, reporter, {}, began)

    def _run(self, kind: Kind, sink: EventSink) -> Result:
        began = time.monotonic()
        reporter = Reporter(sink)

        def stop() -> None:
            self.cancel()
            reporter.say("warning", "interrupted: waiting for what is under way; press Ctrl-C again to stop at once")

        with graceful_stop(stop):
            reporter.emit(DeploymentStarted(kind=kind, project=self._project.name, stack=self._stack))
            try:
                outputs = self._pass(kind, reporter)
            except BaseException:
                # A fault of the engine: it goes on to the caller, but the display must come to its end.
                reporter.failed("the engine failed")
                self._finished(kind, reporter, {}, began)
                raise
        return self._finished(kind, reporter, outputs, began)

    def _finished(self, kind: Kind, reporter: Reporter, outputs: Mapping[str, Any], began: float) -> Result:
        result = Result(
            succeeded=not reporter.failures and not self._interrupted,
            changes=reporter.counts,
            outputs=outputs,
            duration=time.monotonic() - began,
            failures=reporter.failures,
            interrupted=self._interrupted,
        )
        reporter.emit(
            DeploymentFinished(
                kind=kind,
                succeeded=result.succeeded,
                interrupted=result.interrupted,
                changes=result.changes,
                duration=result.duration,
                failures=result.failures,
            )
        )
        return result

    def _pass(self, kind: Kind, reporter: Reporter) -> Mapping[str, Any]:
        dry_run = kind == "preview"
        if not self._interrupted:
            self._halt.clear()
        snapshots = SnapshotManager(self._snapshot, _save_nothing if dry_run else self._save)
        self._report_pending_operations(reporter)
        hooks = Hooks()
        target = Target(
            project=self._project.name,
            stack=self._stack,
            config=self._config.values,
            secret_keys=self._config.secret_keys,
            dry_run=dry_run,
            parallel=self._parallel,
        )
        context = self._context(kind, target, snapshots, reporter, hooks)
        executor = DeploymentExecutor(context)
        try:
            if kind == "destroy" and not self._has_delete_hooks():
                with program_environment(self._project.main, lambda line: reporter.say("info", line)):
                    executor.delete_all()
            else:
                self._run_program(reporter, ResourceMonitor(target, executor, hooks))
        except OperationError:
            pass  # it is reported where it happened
        except EngineError as error:
            reporter.failed(str(error))
        finally:
            hooks.close()
        if context.missing and dry_run:
            reporter.failed(str(UnsupportedError(context.missing)))
        self._flush(snapshots, reporter)
        if dry_run:
            self._previewed = not reporter.failures and not self._interrupted
        else:
            self._snapshot, self._previewed = snapshots.snapshot(), False
        return {} if kind == "destroy" else executor.report_outputs()

    def _context(
        self, kind: Kind, target: Target, snapshots: SnapshotManager, reporter: Reporter, hooks: Hooks
    ) -> DeploymentContext:
        runner = HookRunner(hooks, reporter, dry_run=target.dry_run)
        return DeploymentContext(
            kind=kind,
            parallel=target.parallel,
            snapshots=snapshots,
            reporter=reporter,
            registrations=Registrations(target, snapshots),
            providers=Providers(self._registry, target, snapshots),
            executor=StepExecutor(
                snapshots=snapshots,
                reporter=reporter,
                hooks=runner,
                halt=self._halt,
                dry_run=target.dry_run,
                parallel=target.parallel,
            ),
            hooks=runner,
            halt=self._halt,
        )

    def _run_program(self, reporter: Reporter, monitor: ResourceMonitor) -> None:
        try:
            run_program(
                root=self._project.root,
                main=self._project.main,
                monitor=monitor,
                on_output=lambda line: reporter.say("info", line),
            )
        except ProgramError:
            # What failed in a resource is reported there; the program's own failure may only follow from it.
            if not reporter.failures:
                raise
        if error := monitor.first_error(besides=OperationError):
            raise error

    def _flush(self, snapshots: SnapshotManager, reporter: Reporter) -> None:
        """Write what is not written yet: after a full disk the last state may be missing."""
        if not reporter.failures and not self._interrupted:
            snapshots.clear_pending_operations()
        try:
            snapshots.flush()
        except EngineError as error:
            if str(error) not in [failure.message for failure in reporter.failures]:
                reporter.failed(str(error))

    def _has_delete_hooks(self) -> bool:
        return any(
            kind in resource.extra.get("resourceHooks", {})
            for resource in self._snapshot.resources
            for kind in ("BeforeDelete", "AfterDelete")
        )

    def _report_pending_operations(self, reporter: Reporter) -> None:
        for pending in self._snapshot.pending:
            if self._is_made(pending):
                continue
            name = parse_urn(pending.resource.urn).name
            reporter.say(
                "warning",
                f"the last run was cut short while {pending.kind} {name}: it is taken up again",
                urn=pending.resource.urn,
            )

    def _is_made(self, pending: PendingOperation) -> bool:
        """Whether what was being created is there as it was wanted: the CLI makes it and keeps the note all the same.

        A replacement that was cut short has its former self in the state, with other inputs.
        """
        wanted = pending.resource
        return pending.kind == "creating" and any(
            resource.urn == wanted.urn and not resource.delete and same_value(resource.inputs, wanted.inputs)
            for resource in self._snapshot.resources
        )


def _save_nothing(snapshot: Snapshot) -> None:
    """A preview changes nothing."""
