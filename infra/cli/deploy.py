"""`preview`, `up` and `destroy` by the engine in process: state, lock, secrets and display put together."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from infra.cli.console import Console
from infra.cli.context import Context
from infra.cli.exits import FAILED, INTERRUPTED, OK, CommandError

if TYPE_CHECKING:
    from infra.engine.deployment import Deployment, Result
    from infra.engine.display.events import Event, EventSink
    from infra.engine.state.snapshot import Snapshot

Kind = Literal["up", "destroy"]

_CLOUDS = ("aws", "digitalocean", "docker")


class DisplaySink:
    """The sink of one deployment. Each pass over it has a display of its own, so that a question can come between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._display: EventSink | None = None

    def emit(self, event: Event) -> None:
        if self._display is not None:
            self._display.emit(event)

    def show(self, work: Callable[[], Result]) -> Result:
        """Do `work` with a display open."""
        from infra.engine.display import open_display

        with open_display(self._console.out, verbose=self._console.verbose, live=self._console.rich) as display:
            self._display = display
            try:
                return work()
            finally:
                self._display = None


def preview(context: Context) -> int:
    """Show what `up` would do. Takes no lock and writes nothing, as the CLI's preview."""
    _refuse_clouds(context)
    sink = DisplaySink(context.console)
    return _code(sink.show(_deployment(context, sink).preview))


def change(context: Context, kind: Kind, *, confirmed: bool) -> int:
    """Bring the stack up, or take it down. Unless `confirmed`, show what will happen and ask first."""
    _refuse_clouds(context)
    if kind == "destroy" and not context.backend.exists(context.project.name, context.stack):
        context.console.note(f"stack {context.stack!r} has no resources: there is nothing to destroy")
        return OK
    _prepare_secrets(context)
    sink = DisplaySink(context.console)
    with context.backend.lock(context.project.name, context.stack, report=context.console.note):
        deployment = _deployment(context, sink)
        if not confirmed:
            code = _show_changes(context, kind, deployment, sink)
            if code != OK:
                return code
            if not context.console.confirm(_QUESTIONS[kind]):
                context.console.note("nothing was changed")
                return FAILED
        started = int(time.time())
        result = sink.show(deployment.up if kind == "up" else deployment.destroy)
        _record_update(context, kind, deployment.snapshot, result, started)
    return _code(result)


_QUESTIONS: dict[Kind, str] = {"up": "Make these changes?", "destroy": "Destroy these resources?"}


def _show_changes(context: Context, kind: Kind, deployment: Deployment, sink: DisplaySink) -> int:
    if kind == "up":
        return _code(sink.show(deployment.preview))
    rows = [
        (resource.urn.rpartition("::")[2], resource.type, "protected" if resource.protect else "")
        for resource in reversed(deployment.snapshot.resources)
        if not resource.type.startswith("pulumi:")
    ]
    context.console.print(f"Stack {context.stack!r} will lose {len(rows)} resources:")
    context.console.table(("NAME", "TYPE", ""), rows)
    return OK


def _deployment(context: Context, sink: DisplaySink) -> Deployment:
    from infra.engine.deployment import Deployment

    return Deployment(
        project=context.project,
        stack=context.stack,
        config=context.file.program_config(context.secrets),
        snapshot=context.backend.load(context.project.name, context.stack, context.secrets),
        save=lambda snapshot: context.backend.save(snapshot, context.secrets),
        sink=sink,
    )


def _record_update(context: Context, kind: Kind, snapshot: Snapshot, result: Result, started: int) -> None:
    """Add the run to the stack's history, unless it had nothing to do: the state is copied twice for each entry."""
    if result.succeeded and not any(count for op, count in result.changes.items() if op != "same"):
        return
    from infra.engine.state.backend import UpdateInfo

    info = UpdateInfo(
        kind="update" if kind == "up" else "destroy",
        start_time=started,
        end_time=int(time.time()),
        succeeded=result.succeeded,
        config=context.file.config(),
        changes=result.changes,
        environment={"exec.kind": "slipway", "pulumi.os": platform.system().lower()},
    )
    context.backend.finish(snapshot, context.secrets, info)


def _refuse_clouds(context: Context) -> None:
    """Refuse a target of provider plugins before a passphrase is asked for or a salt written to the stack file."""
    if context.target in _CLOUDS:
        from infra.engine.providers.registry import INSTALL

        raise CommandError(
            f"stack {context.stack!r} runs on {context.target}, whose provider plugins only the Pulumi CLI can run. "
            f"{INSTALL} `slipway plan --stack {context.stack}` shows the stack without it."
        )


def _prepare_secrets(context: Context) -> None:
    """Give a stack that has no salt yet one, as the CLI does when it makes a stack."""
    from infra.engine.project.location import open_or_create_secrets

    context.__dict__["secrets"] = open_or_create_secrets(context.file, context.environ)


def _code(result: Result) -> int:
    if result.succeeded:
        return OK
    return INTERRUPTED if result.interrupted else FAILED
