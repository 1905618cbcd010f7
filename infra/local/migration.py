"""The migration of the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from infra.component import ComponentArgs
from infra.contracts import Image, SecretRef, TaskSpec
from infra.local.component import LocalComponent
from infra.local.resources import MigrationResource
from infra.local.service import bind


@dataclass(frozen=True, kw_only=True)
class MigrationArgs(ComponentArgs):
    """`secrets` must hold every variable that `spec` asks for."""

    image: Image
    spec: TaskSpec
    secrets: Mapping[str, SecretRef]


class Migration(LocalComponent):
    """Runs the application once in mode ``migrate``, whenever code or database changed.

    Creates: nothing that stays but its log in ``.slipway/<stack>/migrate``. Costs: a second. Exports: `revision`, the
    schema's version; what depends on this component starts after a migration that succeeded, or not at all. Replaces:
    nothing. Deleting it changes nothing in the database.
    """

    revision: pulumi.Output[str]

    def __init__(self, name: str, args: MigrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("Migration", name, opts, args.transforms)
        run = self.inner(
            "run",
            MigrationResource,
            {
                "folder": self.folder("migrate"),
                "image": args.image.reference,
                "command": list(args.spec.command),
                "environment": dict(args.spec.environment),
                "secrets": bind(args.spec.secrets, args.secrets),
                "timeout": args.spec.timeout,
            },
        )
        self.revision = run.revision
        self.finish({"revision": self.revision})
