"""The simulation is a package of its own that only these tests need; folders of tests are no packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from simulated import harness


@pytest.fixture
def installed() -> Iterator[None]:
    with harness.installed():
        yield
