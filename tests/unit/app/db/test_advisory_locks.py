"""The keys of advisory locks: no two are the same, and none is taken by a number written elsewhere."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import app
from app.db import locks

KEYS = {name: value for name, value in vars(locks).items() if name.isupper()}
APP = Path(str(app.__path__[0]))
TAKEN = re.compile(r"advisory\w*lock\w*\([^\n]*")


def test_each_lock_has_a_key_of_its_own() -> None:
    assert len(set(KEYS.values())) == len(KEYS) == 3
    # Versions run side by side: what an older one takes keeps its number.
    assert (locks.MIGRATION, locks.SWEEP) == (0x51173A90, 0x51173A91)


def test_every_lock_is_taken_by_a_key_of_that_module_each_in_one_place() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for path in APP.rglob("*.py"):
        source = path.read_text()
        calls = TAKEN.findall(source)
        names = re.findall(r"\blocks\.([A-Z_]+)", source)
        assert len(names) == len(calls), f"{path}: {calls} with {names}"
        for name in names:
            places[name].add(str(path.relative_to(APP)))
    assert places == {
        "MIGRATION": {"migrations/runner.py"},
        "SWEEP": {"queue/records.py"},
        "BOOTSTRAP": {"db/roles.py"},
    }
