"""The Pulumi program: settings in, the target's resources out."""

from __future__ import annotations

import pulumi

from infra.settings import SettingsError, from_pulumi
from stacks.local import local

TARGETS = {"local": local}


def main() -> None:
    """Make the stack's resources and export its outputs."""
    pulumi.require_pulumi_version(">=3.238.0")
    try:
        settings = from_pulumi()
    except SettingsError as error:
        raise pulumi.RunError(str(error)) from None
    if settings.target not in TARGETS:
        raise pulumi.RunError(
            f"Target {settings.target} is not available in this version, which has {', '.join(sorted(TARGETS))}. "
            "Choose one: slipway config set target local"
        )
    for name, value in TARGETS[settings.target](settings).items():
        pulumi.export(name, value)


main()
