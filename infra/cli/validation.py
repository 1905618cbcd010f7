"""A stack's config held against the settings tree, before anything is written or checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.engine.project import StackFile
    from infra.settings import Problem, Settings


def load_settings(file: StackFile) -> Settings:
    """The stack's settings, secrets blinded; raises SettingsError with all problems."""
    from infra.settings import load

    config = file.program_config(None)
    return load(config.values, project=file.project.name, stack=file.stack, secret_keys=config.secret_keys)


def problems(file: StackFile) -> tuple[Problem, ...]:
    """All that is wrong with the stack's settings; empty when they are good."""
    from infra.settings import SettingsError

    try:
        load_settings(file)
    except SettingsError as error:
        return error.problems
    return ()


def is_secret(path: Sequence[str | int], *, project: str) -> bool | None:
    """Whether the settings hold a secret at a config path; None for a key that they do not know."""
    from infra.settings.describe import find
    from infra.settings.tree import Settings

    namespace, _, name = str(path[0]).partition(":")
    found = find(Settings, (name, *path[1:])) if namespace == project else None
    return found.secret if found else None
