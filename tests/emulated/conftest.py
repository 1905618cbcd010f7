"""A pretended AWS account, and the stacks of this project in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The emulator is a package of its own that only these tests need; folders of tests are no packages.
sys.path.insert(0, str(Path(__file__).parent))

from emulator.cloud import Cloud, cloud  # noqa: E402


@pytest.fixture
def account() -> Iterator[Cloud]:
    with cloud("eu-central-1") as made:
        yield made
