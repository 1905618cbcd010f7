"""A copy of the tree to follow the page in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# A module of its own that only these tests need; folders of tests are no packages.
sys.path.insert(0, str(Path(__file__).parent))

from guide import Copy


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    """Whatever of its stack runs is stopped after the test."""
    made = Copy(tmp_path)
    yield made
    if (made.folder / ".slipway").exists():
        made.run("slipway destroy --yes --delete-data --stack local")
