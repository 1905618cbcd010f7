"""A state that Slipway 0.1 wrote, before its modules were arranged by feature, goes on without a change.

`data/former` was written by a real `slipway up` of the local stack at that version, with its servers; the project's
folder alone has another name in it. Its passwords are those of servers that are gone. What may differ: the fingerprint
of the application, because any file of `app/` changes it, and what this machine's resources find when they look.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import pkgutil
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dill
import pytest
from pulumi.dynamic import ResourceProvider

from infra.engine.deployment import Deployment
from infra.engine.display.events import NullSink
from infra.engine.project.location import open_secrets
from infra.engine.project.project import StackFile, load_project
from infra.engine.state.backend import FileBackend
from infra.engine.state.snapshot import ResourceState, Snapshot
from infra.engine.values import reveal
from infra.local import providers
from infra.local.providers.base import LocalProvider

ROOT = Path(__file__).parents[3]
FORMER = Path(__file__).parent / "data" / "former"
NOTHING = hashlib.sha256().hexdigest()[:16]
"""The fingerprint of an application without files, as in the project of this test."""


@pytest.fixture
def file(tmp_path: Path) -> StackFile:
    """Today's program in a project of its own, with the stack file and the state of that version."""
    shutil.copytree(ROOT / "stacks", tmp_path / "stacks", ignore=shutil.ignore_patterns("__pycache__", ".venv"))
    shutil.copy(ROOT / "Pulumi.yaml", tmp_path)
    shutil.copy(FORMER / "Pulumi.local.yaml", tmp_path)
    state = tmp_path / ".slipway/.pulumi/stacks/slipway/local.json"
    state.parent.mkdir(parents=True)
    state.write_text(re.sub(r"source:[0-9a-f]{16}", f"source:{NOTHING}", (FORMER / "local.json").read_text()))
    (tmp_path / ".slipway/.pulumi/meta.yaml").write_text("version: 1\n")
    return StackFile.load(load_project(tmp_path), "local")


@pytest.fixture
def _all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every server and process is found as it was left."""
    for module in pkgutil.iter_modules(providers.__path__, f"{providers.__name__}."):
        importlib.import_module(module.name)
    for provider in below(LocalProvider):
        monkeypatch.setattr(provider, "see", lambda *_: True)


def below(parent: type[Any]) -> Iterator[type[Any]]:
    yield parent
    for child in parent.__subclasses__():
        yield from below(child)


def by_name(snapshot: Snapshot) -> dict[str, ResourceState]:
    return {resource.urn: resource for resource in snapshot.resources}


@pytest.mark.usefixtures("_all_is_there")
def test_up_changes_nothing(file: StackFile) -> None:
    secrets, backend = open_secrets(file, {}), FileBackend(file.project.root / ".slipway")
    before = backend.load("slipway", "local", secrets)
    saved: list[Snapshot] = []
    deployment = Deployment(
        project=file.project,
        stack="local",
        config=file.program_config(secrets),
        snapshot=before,
        save=saved.append,
        sink=NullSink(),
    )
    assert deployment.preview().changes == {"same": 27}
    result = deployment.up()
    assert (result.failures, result.changes) == ((), {"same": 27})
    assert result.outputs == before.outputs
    assert by_name(deployment.snapshot) == by_name(before)
    assert saved == []


def test_its_dynamic_providers_can_be_loaded(file: StackFile) -> None:
    """A `destroy` calls them, and so does a replacement: they name their modules and classes."""
    snapshot = FileBackend(file.project.root / ".slipway").load("slipway", "local", open_secrets(file, {}))
    texts = {r.type: reveal(r.inputs["__provider"]) for r in snapshot.resources if "__provider" in r.inputs}
    assert len(texts) == 6
    for text in texts.values():
        assert isinstance(dill.loads(base64.b64decode(text)), ResourceProvider)
