"""A pretended AWS account, and the stacks of this project in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# The emulator is a package of its own that only these tests need; folders of tests are no packages.
sys.path.insert(0, str(Path(__file__).parent))

from emulator import control
from emulator.cloud import Cloud, cloud
from emulator.stack import Stack

from infra.engine.project.project import Project, load_project

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def project() -> Project:
    return load_project(ROOT)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setenv(control.VARIABLE, control.WHERE)
    with cloud("eu-central-1") as made:
        yield made


@pytest.fixture
def stack(project: Project, account: Cloud) -> Callable[[str], Stack]:
    """Makes a stack by the name of its file, in an account of its own."""
    return lambda name: Stack(project, name, account)
