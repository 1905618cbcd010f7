"""The application's own secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi

from infra.component import ComponentArgs
from infra.contracts import SecretRef
from infra.local.component import LocalComponent
from infra.rotation import Ring, signing_keys


@dataclass(frozen=True, kw_only=True)
class SecretsArgs(ComponentArgs):
    """`given` are values from stack config, by variable; with a ``JWT_SECRET`` among them no key is generated."""

    ring: Ring
    given: Mapping[str, pulumi.Input[str]] = field(default_factory=dict, repr=False)


class Secrets(LocalComponent):
    """The ring of keys that sign tokens, and the secrets that stack config gives.

    Creates: a random key for each generation of the ring. Costs: nothing. Exports: `refs`, one for each secret
    variable. Replaces: a step of `rotation.jwt` adds the key after the next one and removes the oldest, once everything
    that runs has the new ring.
    """

    refs: Mapping[str, SecretRef]

    def __init__(self, name: str, args: SecretsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("Secrets", name, opts, args.transforms)
        values = {variable: pulumi.Output.secret(value) for variable, value in args.given.items()}
        if "JWT_SECRET" not in values:
            values["JWT_KEYS"] = signing_keys(self, args.ring)
        self.refs = {variable: SecretRef(name=variable, value=value) for variable, value in values.items()}
        self.finish({"names": sorted(self.refs)})
