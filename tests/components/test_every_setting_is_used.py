"""Every key of the settings tree is looked at by what a target makes of it.

Those with a variable are flipped one by one in `tests/unit/test_workload.py`, and the variable's role must read it
(`tests/local/worker/test_variables_are_read.py`). A plan takes seconds, so the others are not flipped: two plans
record which keys the program asks for after the settings are loaded and checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import infra.settings
from infra.engine.plan import Plan
from infra.settings.describe import keys
from infra.settings.group import Group
from infra.settings.tree import Settings

Planned = Callable[..., Plan]
Path = tuple[str | int, ...]

UNUSED = {
    "domain.plain_http": "a consent: without it the check refuses a stack on AWS that has no domain",
    "domain.zone": "for App Platform; on AWS the check wants zone_id with it, and that names the zone",
    "permits.0.action": "the guard asks for it when something is deleted or replaced, which no plan does",
    "permits.0.reason": "for whoever reads the stack file",
    "redis.tls": "ElastiCache always has it, the embedded server never; the check refuses what cannot be",
}
"""Keys that no plan asks for, each with its reason."""


def groups(value: Any, path: Path = ()) -> Iterator[tuple[int, Path]]:
    """Every group in the tree by its identity, with the path that the description of the tree gives it."""
    if isinstance(value, Group):
        yield id(value), path
        for name in type(value).model_fields:
            yield from groups(value.__dict__[name], (*path, name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from groups(item, (*path, "<name>"))
    elif isinstance(value, tuple):
        for item in value:
            yield from groups(item, (*path, 0))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """The keys that are asked for from the moment at which a program has its settings."""
    places: dict[int, Path] = {}
    kept: list[Settings] = []
    found: set[Path] = set()
    load, plain = infra.settings.from_pulumi, Group.__getattribute__

    def loaded() -> Settings:
        settings = load()
        kept.append(settings)
        places.update(groups(settings))
        return settings

    def ask(self: Group, name: str) -> Any:
        if not name.startswith("_") and (place := places.get(id(self))) is not None:
            found.add((*place, name))
        return plain(self, name)

    monkeypatch.setattr(infra.settings, "from_pulumi", loaded)
    monkeypatch.setattr(Group, "__getattribute__", ask)
    return found


def test_every_key_is_asked_for(planned: Planned, asked: set[Path]) -> None:
    planned("local")
    planned(
        "prod",
        permits=[{"resource": "x", "action": "delete", "until": "2099-01-01", "reason": "only to be looked at"}],
        worker={
            "scaling": {"max_replicas": 4},
            "groups": {"bulk": {"kinds": ["delivery"], "scaling": {"max_replicas": 3}}},
        },
    )
    unused = {".".join(map(str, key.path)) for key in keys(Settings) if key.path not in asked}
    assert unused == set(UNUSED)
