"""Records in the state that refuse a lower version of a server.

No engine goes back. RDS refuses, but only when half of the change is made; ElastiCache's provider makes another group
in place of the one that runs, under the identifier that this one has (ElastiCache CustomizeDiff of the Terraform
provider). The program cannot see which version it asked for last, but the hook of a record that keeps it can.
"""

from __future__ import annotations

import pulumi
from pulumi import ResourceHook, ResourceHookArgs, ResourceHookBinding, ResourceHookOptions, Stash

from infra.aws.guard import today
from infra.component import Component

_KEY = "version"


class EngineVersionError(ValueError):
    """A version lower than the one that was asked for last. ``str()`` says what to do instead."""

    user_facing = True


def engine_version(
    owner: Component, role: str, *, setting: str, version: str, lower_permitted: bool
) -> pulumi.Resource:
    """The record, to depend on, as ``<role>-version``: a preview or an update that lowers `version` fails before
    anything is made. `setting` is its key in the stack file; `lower_permitted` lets it, by a permit to replace the
    record: after an upgrade that was asked for and never came about.
    """
    check = _Check(setting=setting, lower_permitted=lower_permitted)
    # Also in previews, so that nothing has changed yet when a version is refused.
    hook = ResourceHook(f"{setting}-{role}-goes-up", check.refuse_lower, ResourceHookOptions(on_dry_run=True))
    return owner.inner(
        f"{role}-version", Stash, {"input": {_KEY: version}}, hooks=ResourceHookBinding(before_update=[hook])
    )


class _Check:
    def __init__(self, *, setting: str, lower_permitted: bool) -> None:
        self._setting = setting
        self._lower_permitted = lower_permitted

    def refuse_lower(self, args: ResourceHookArgs) -> None:
        old, new = (str((inputs or {}).get("input", {}).get(_KEY, "")) for inputs in (args.old_inputs, args.new_inputs))
        if self._lower_permitted or not (old and new) or _parts(new) >= _parts(old):
            return
        raise EngineVersionError(
            f"{self._setting} goes back from {old} to {new}, and the server that runs cannot. Nothing was done to it. "
            f"Set it to {old}. If the upgrade to {old} never came about, add to Pulumi.{pulumi.get_stack()}.yaml under "
            f"slipway:permits: {{resource: {args.name}, action: replace, until: {today()}, reason: ...}}"
        )


def _parts(version: str) -> tuple[int, ...]:
    """``8.10`` is above ``8.2``; a version without a minor is the first of its major."""
    return tuple(int(part) for part in version.split("."))
