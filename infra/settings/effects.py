"""What a change to a key does to a running stack: the question before every `up`."""

from __future__ import annotations

from infra.property_paths import Path
from infra.settings.describe import Key, marker, walk
from infra.settings.services import NamedGroup
from infra.settings.tree import Settings
from infra.settings.variables import API, OWN, ROLLS_ALL, ROLLS_API, ROLLS_WORKERS, WORKER, Effect, Variable


def effect(path: Path) -> str:
    """What a change to the key at `path` does: what is said nearest to it. Raises KeyError when nothing is said."""
    found = None
    for key in walk(Settings, path):
        if key.path[:2] == ("worker", "groups") and len(key.path) > 3 and key.path[3] not in NamedGroup.__annotations__:
            break  # What a named group has like `worker`, it has as a whole.
        found = _said(key) or found
    if found is None:
        raise KeyError(".".join(map(str, path)))
    return found


def _said(key: Key) -> str | None:
    """By the key's own marker, else by who reads its variable."""
    if (said := marker(key.markers, Effect)) is not None:
        return said.text
    if (variable := marker(key.markers, Variable)) is None:
        return None
    roles = variable.roles
    if OWN in roles:
        roles = API if key.path[0] == "api" else WORKER
    if API in roles:
        return ROLLS_ALL if WORKER in roles else ROLLS_API
    return ROLLS_WORKERS if WORKER in roles else "the next migration"
