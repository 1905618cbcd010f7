"""A stack's config held against the settings tree, before anything is written or checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra.property_paths import Path

if TYPE_CHECKING:
    from infra.engine.project.project import StackFile
    from infra.settings import Problem, Settings
    from infra.settings.describe import Key


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


def find_key(path: Path, *, project: str) -> Key | None:
    """The setting at a config path; None for a key that the settings do not have, as a provider's own."""
    from infra.settings.describe import find
    from infra.settings.tree import Settings

    namespace, _, name = str(path[0]).partition(":")
    return find(Settings, (name, *path[1:])) if namespace == project else None


def takes_text(path: Path, *, project: str) -> bool:
    """Whether the setting at a config path is a text, so that what is typed is the value."""
    from infra.settings.describe import is_text
    from infra.settings.tree import Settings

    namespace, _, name = str(path[0]).partition(":")
    return namespace == project and is_text(Settings, (name, *path[1:]))


def in_effect(file: StackFile, path: Path) -> str | None:
    """The value that the settings have at a config path, as a stack file spells it; None when there is none.

    Raises SettingsError when the settings cannot be loaded.
    """
    from infra.settings.describe import write

    key = find_key(path, project=file.project.name)
    if key is None:
        return None
    value: Any = load_settings(file)
    for step in (key.path[0], *path[1:]):
        try:
            value = getattr(value, str(step)) if hasattr(value, str(step)) else value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return write(value, key.rule) or None
