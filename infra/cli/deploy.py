"""`preview`, `up` and `destroy` by the engine in process: state, lock, secrets and display put together."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Literal

from infra.cli.context import Context
from infra.cli.exits import FAILED, INTERRUPTED, OK

if TYPE_CHECKING:
    from infra.engine.deployment import Deployment, Result
    from infra.engine.project import ProgramConfig
    from infra.engine.state import Snapshot

Kind = Literal["up", "destroy"]


def preview(context: Context) -> int:
    """Show what `up` would do. Takes no lock and writes nothing, as the CLI's preview."""
    config = context.file.program_config(context.secrets)
    snapshot = context.backend.load(context.project.name, context.stack, context.secrets)
    return _code(_deployment(context, config, snapshot).preview())


def change(context: Context, kind: Kind, *, confirmed: bool) -> int:
    """Bring the stack up, or take it down. Unless `confirmed`, show what will happen and ask first."""
    _prepare_secrets(context)
    config = context.file.program_config(context.secrets)
    project, stack = context.project.name, context.stack
    with context.backend.lock(project, stack, report=context.console.note):
        snapshot = context.backend.load(project, stack, context.secrets)
        if not confirmed:
            code = _show(context, kind, config, snapshot)
            if code != OK or not context.console.confirm(_QUESTIONS[kind]):
                if code == OK:
                    context.console.note("nothing was changed")
                return code or FAILED
            # The preview is done with its snapshot; the update starts from what is on the disk.
            snapshot = context.backend.load(project, stack, context.secrets)
        return _apply(context, kind, config, snapshot)


_QUESTIONS: dict[Kind, str] = {
    "up": "Make these changes?",
    "destroy": "Destroy these resources?",
}


def _apply(context: Context, kind: Kind, config: ProgramConfig, snapshot: Snapshot) -> int:
    started = int(time.time())
    deployment = _deployment(context, config, snapshot)
    result = deployment.up() if kind == "up" else deployment.destroy()
    _remember(context, kind, snapshot, result, started)
    return _code(result)


def _show(context: Context, kind: Kind, config: ProgramConfig, snapshot: Snapshot) -> int:
    if kind == "up":
        return _code(_deployment(context, config, snapshot).preview())
    rows = [
        (name, resource.type, "protected" if resource.protect else "")
        for resource in reversed(snapshot.resources)
        if not resource.type.startswith("pulumi:")
        for name in [resource.urn.rpartition("::")[2]]
    ]
    context.console.print(f"Stack {context.stack!r} will lose {len(rows)} resources:")
    context.console.table(("NAME", "TYPE", ""), rows)
    return OK


def _deployment(context: Context, config: ProgramConfig, snapshot: Snapshot) -> Deployment:
    from infra.cli.display import sink_for
    from infra.engine.deployment import Deployment

    return Deployment(
        project=context.project,
        stack=context.stack,
        config=config,
        snapshot=snapshot,
        save=lambda state: context.backend.save(state, context.secrets),
        sink=sink_for(context.console),
    )


def _remember(context: Context, kind: Kind, snapshot: Snapshot, result: Result, started: int) -> None:
    from infra.engine.backend import UpdateInfo

    info = UpdateInfo(
        kind="update" if kind == "up" else "destroy",
        start_time=started,
        end_time=int(time.time()),
        succeeded=result.succeeded,
        config=context.file.config(),
        changes=result.changes,
        environment={"exec.kind": "slipway", "os": os.name},
    )
    context.backend.finish(snapshot, context.secrets, info)


def _prepare_secrets(context: Context) -> None:
    """Give a stack that has no salt yet one, as the CLI does when it makes a stack."""
    from infra.engine.location import open_or_create_secrets

    context.__dict__["secrets"] = open_or_create_secrets(context.file, context.environ)


def _code(result: Result) -> int:
    if result.succeeded:
        return OK
    return INTERRUPTED if getattr(result, "interrupted", False) else FAILED
