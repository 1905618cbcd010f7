"""Secrets Manager: one secret for each concern, and the exact version of it that a task gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pulumi
import pulumi_aws as aws

from infra.aws.naming import prefix
from infra.component import Component, ComponentArgs
from infra.contracts import SecretRef
from infra.rotation import Ring, signing_keys

PINNED_SECRET: Final = re.compile(
    r"arn:[a-z-]+:secretsmanager:[a-z0-9-]+:\d{12}:secret:"
    r"(?:[A-Za-z0-9/_+=.@-]+"  # the secret
    r":[A-Za-z0-9_.-]*::[A-Za-z0-9-]{1,64}"  # key of its JSON, no stage, and the version's id
    r"|rds![A-Za-z0-9/_+=.@-]+:[A-Za-z0-9_.-]*::)"  # a master password, which RDS itself renews: the current one
)
"""The one form of `valueFrom` that these definitions take: a value that changes under a running service would show at
its next restart, one task after the other, with no deployment to roll back."""

_LONGEST_NAME = 255
"""Characters of a secret's name with the suffix of 26 that the provider adds to a prefix; AWS allows 512."""


@dataclass(frozen=True, kw_only=True)
class Safe:
    """How secrets are kept."""

    key: pulumi.Input[str] | None = None
    """KMS key; None: the one that AWS manages for Secrets Manager."""
    recovery_window: int = 30
    """Days for which a deleted secret can be had back: 7 to 30, or 0 for none."""


class StoredSecret(SecretRef):
    """One value in Secrets Manager, as an inner resource of `parent`.

    As a `SecretRef` its `value` is the address of this very version. Tasks get what was there when their definition
    was made, a new value is a new definition, and a rollback finds the value that it ran with.
    """

    arn: pulumi.Output[str]
    """Of the secret, for policies."""

    def __init__(
        self,
        parent: Component,
        role: str,
        value: pulumi.Input[str],
        *,
        variable: str,
        safe: Safe,
        description: str | None = None,
    ) -> None:
        """Make ``<parent>-<role>`` and ``<parent>-<role>-version``. `variable` is what a task calls it."""
        secret = parent.inner(
            role,
            aws.secretsmanager.Secret,
            {
                # A deleted secret keeps its name through its recovery window, so that names must not come back.
                "name_prefix": prefix(pulumi.get_project(), pulumi.get_stack(), role, limit=_LONGEST_NAME),
                "description": description or f"{variable} of {pulumi.get_project()} {pulumi.get_stack()}",
                "kms_key_id": safe.key,
                "recovery_window_in_days": safe.recovery_window,
            },
        )
        version = parent.inner(
            f"{role}-version",
            aws.secretsmanager.SecretVersion,
            {"secret_id": secret.id, "secret_string": pulumi.Output.secret(value)},
            # The version before stays readable: tasks of the old definition still start with it during a rollback.
            retain_on_delete=True,
        )
        super().__init__(name=variable, value=_address(secret.arn, version.version_id))
        object.__setattr__(self, "arn", secret.arn)


def _address(arn: pulumi.Input[str], version: pulumi.Input[str]) -> pulumi.Output[str]:
    """``valueFrom`` for the whole value of one version: ``arn:json-key:stage:version-id`` with an empty middle."""
    return pulumi.Output.concat(arn, ":::", version)


def pinned(name: str, address: pulumi.Input[str]) -> pulumi.Output[str]:
    """The address of a secret, checked when it is known: a value in its place would end up in the open."""

    def check(text: str) -> str:
        if not PINNED_SECRET.fullmatch(text):
            raise ValueError(f"{name} is not bound to a pinned version of a secret in Secrets Manager")
        return text

    # An address is no secret. Marked as one it would make the whole definition one, and previews of it blind.
    return pulumi.Output.unsecret(pulumi.Output.from_input(address).apply(check))


def secret_arn(address: str) -> str:
    """The secret's ARN out of `valueFrom`."""
    return ":".join(address.split(":")[:7])


@dataclass(frozen=True, kw_only=True)
class SecretsArgs(ComponentArgs):
    """`given` are values from stack config, by variable; with a ``JWT_SECRET`` among them no key is generated."""

    ring: Ring
    given: Mapping[str, pulumi.Input[str]] = field(default_factory=dict, repr=False)
    key: pulumi.Input[str] | None = None
    recovery_window: int = 30


class Secrets(Component):
    """The ring of keys that sign tokens, and the secrets that stack config gives, each a secret of its own.

    Creates: a random key for each generation of the ring, and a secret with one version for each variable. Costs: 0.40
    USD a month for each secret. Exports: `refs` by variable, and the secrets' `arns` for policies. Replaces: a new
    value adds a version, and with it the task definitions that use it; the version before stays. A step of
    `rotation.jwt` adds the key after the next one and removes the oldest.
    """

    refs: Mapping[str, SecretRef]
    arns: Mapping[str, pulumi.Output[str]]
    """By variable."""

    def __init__(self, name: str, args: SecretsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:Secrets", name, opts, args.transforms)
        safe = Safe(key=args.key, recovery_window=args.recovery_window)
        values: dict[str, pulumi.Input[str]] = dict(args.given)
        if "JWT_SECRET" not in values:
            values["JWT_KEYS"] = signing_keys(self, args.ring)
        stored = {
            variable: StoredSecret(self, variable.lower().replace("_", "-"), value, variable=variable, safe=safe)
            for variable, value in sorted(values.items())
        }
        self.refs = stored
        self.arns = {variable: secret.arn for variable, secret in stored.items()}
        self.finish({"arns": self.arns})
