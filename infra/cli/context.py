"""What a command works on: the project, one of its stacks, and that stack's state and secrets, each made on use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from infra.cli.console import Console
from infra.cli.exits import CommandError

if TYPE_CHECKING:
    from infra.engine.project.project import Project, StackFile
    from infra.engine.state.backend import FileBackend
    from infra.engine.state.crypto import SecretsManager

_TOOLS_OF_TARGETS = {
    "docker": "docker ps, docker logs",
    "aws": "the ECS console or `aws ecs describe-services`, and CloudWatch Logs",
    "digitalocean": "`doctl apps list`, `doctl apps logs`",
}


@dataclass
class Context:
    stack: str
    console: Console
    cwd: Path = field(default_factory=Path.cwd)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @cached_property
    def project(self) -> Project:
        from infra.engine.project.project import load_project

        return load_project(self.cwd)

    @cached_property
    def file(self) -> StackFile:
        from infra.engine.project.project import StackFile

        return StackFile.load(self.project, self.stack)

    @cached_property
    def secrets(self) -> SecretsManager:
        """The stack's secrets, opened: about 0.25 s."""
        from infra.engine.project.location import open_secrets

        return open_secrets(self.file, self.environ)

    @cached_property
    def backend(self) -> FileBackend:
        from infra.engine.project.location import state_root
        from infra.engine.state.backend import FileBackend

        root = state_root(self.project, self.environ)
        self.console.detail(f"state: {root}")
        return FileBackend(root)

    @property
    def stack_dir(self) -> Path:
        """Where the local target keeps the stack's data, sockets and logs."""
        return self.project.root / ".slipway" / self.stack

    @property
    def target(self) -> str:
        """Where the stack runs, as its file says: ``local``, ``aws`` ..."""
        return str(self.file.config().get(f"{self.project.name}:target", "nowhere"))

    def require_local(self, command: str) -> None:
        """Raise CommandError, with where to look instead, when the stack does not run on this machine."""
        if self.target != "local":
            where = _TOOLS_OF_TARGETS.get(self.target, "the target's own tools")
            raise CommandError(
                f"`slipway {command}` looks at processes of this machine, "
                f"and stack {self.stack!r} runs on {self.target}: use {where}"
            )
