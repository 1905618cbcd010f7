"""What a rule between several keys says when it does not hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from infra.property_paths import Path, parse_path
from infra.settings.services import Api, WorkerGroup
from infra.settings.tree import Settings


@dataclass(frozen=True)
class Broken:
    """A rule that does not hold."""

    path: str
    """The key to look at first, dotted: ``worker.groups.bulk.queue``, ``cors_origins[0]``."""
    message: str
    """What is wrong, as the rest of a sentence that starts with the key."""
    _: KW_ONLY
    allowed: str = ""
    suggestion: str | None = None
    """A value of `suggested_path`, else of `path`, that mends it."""
    suggested_path: str | None = None
    remove: bool = False
    """The key should go."""
    also: tuple[str, ...] = ()
    """The other keys that the rule looks at: while one of them is faulty itself, the rule says nothing. Never `target`:
    no rule is asked while that is faulty."""

    def touches(self, faulty: Collection[Path]) -> bool:
        """Whether a faulty key would make this a guess: one of the keys lies at, above or below it.

        What should go altogether should go whatever is faulty inside.
        """
        path = parse_path(self.path)
        looked_at = [*([] if self.remove else [path]), *map(parse_path, self.also)]
        inside_faulty = any(path[: len(bad)] == bad for bad in faulty)
        return inside_faulty or any(one[: len(two)] == two[: len(one)] for one in looked_at for two in faulty)


def needless(path: str, message: str, *also: str, allowed: str = "") -> Broken:
    """A key that should go from the stack file."""
    return Broken(path, message, allowed=allowed, remove=True, also=also)


def only(path: str, value: str, message: str, *also: str) -> Broken:
    """A key for which one value is left."""
    return Broken(path, message, allowed=value, suggestion=value, also=also)


def missing(path: str, message: str, allowed: str, *also: str) -> Broken:
    """A key that needs a value which only the user can give."""
    return Broken(path, message, allowed=allowed, suggestion="VALUE", also=also)


@dataclass(frozen=True)
class Context:
    """What a rule looks at: the complete settings, and the keys that the stack file itself has."""

    settings: Settings
    tree: Mapping[str, Any]

    def given(self, path: str) -> bool:
        """Whether the stack file says something at `path`."""
        place: Any = self.tree
        for part in path.split("."):
            if not isinstance(place, Mapping) or part not in place:
                return False
            place = place[part]
        return True

    def needless(self, paths: Iterable[str], message: str, *also: str) -> Iterator[Broken]:
        """Those of the keys that the stack file has should go from it."""
        yield from (needless(path, message, *also) for path in paths if self.given(path))

    def processes(self) -> Iterator[tuple[str, Api | WorkerGroup]]:
        """The API, the main workers and every named group, each with its path."""
        yield "api", self.settings.api
        yield from self.workers()

    def workers(self) -> Iterator[tuple[str, WorkerGroup]]:
        """The main workers and every named group, each with its path."""
        yield "worker", self.settings.worker
        for name, group in self.settings.worker.groups.items():
            yield f"worker.groups.{name}", group


Found = Iterator[Broken]
