"""The Pulumi program: settings in, the target's resources out."""

from __future__ import annotations

from importlib import import_module

import pulumi

from infra.engine.errors import ProjectError
from infra.engine.project.project import check_stack_file
from infra.settings import SettingsError, from_pulumi

TARGETS = ("aws", "local")
"""Each has a module of its name here, with a function of its name. Only the one that is used is loaded."""


def main() -> None:
    """Make the stack's resources and export its outputs."""
    pulumi.require_pulumi_version(">=3.238.0")
    try:
        check_stack_file(pulumi.get_root_directory(), pulumi.get_stack())
        settings = from_pulumi()
    except (ProjectError, SettingsError) as error:
        raise pulumi.RunError(str(error)) from None
    if settings.target not in TARGETS:
        raise pulumi.RunError(
            f"Target {settings.target} is not available in this version, which has {', '.join(TARGETS)}. "
            f"Choose one: slipway config set target local --stack {settings.stack}"
        )
    make = getattr(import_module(f"stacks.{settings.target}"), settings.target)
    for name, value in make(settings).items():
        pulumi.export(name, value)


main()
