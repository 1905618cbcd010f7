"""The backend and the deployment together: a program's state on the disk, over several runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.engine.deployment import Deployment, Result
from infra.engine.display.events import NullSink
from infra.engine.project.project import Project, StackFile
from infra.engine.state.backend import FileBackend
from infra.engine.state.crypto import PassphraseSecretsManager
from infra.engine.values import Secret


@pytest.fixture
def deploy(program: Project, tmp_path: Path, secrets: PassphraseSecretsManager) -> Callable[[], Deployment]:
    """A deployment from what is on the disk, as each command makes one."""

    def make() -> Deployment:
        backend = FileBackend(tmp_path / "empty")
        return Deployment(
            project=program,
            stack="dev",
            config=StackFile.load(program, "dev").program_config(secrets),
            snapshot=backend.load("demo", "dev", secrets),
            save=lambda snapshot: backend.save(snapshot, secrets),
            sink=NullSink(),
        )

    return make


def succeeded(result: Result) -> dict[str, int]:
    assert result.succeeded, result.failures
    return {op: count for op, count in result.changes.items() if count}


def test_what_is_deployed_is_found_unchanged_by_the_next_run(
    deploy: Callable[[], Deployment], tmp_path: Path, secrets: PassphraseSecretsManager
) -> None:
    assert succeeded(deploy().up()) == {"create": 4}
    text = (tmp_path / "empty/.pulumi/stacks/demo/dev.json").read_text()
    assert "swordfish" not in text
    first = FileBackend(tmp_path / "empty").load("demo", "dev", secrets)
    assert isinstance(first.outputs["key"], Secret)
    assert first.outputs["key"].value not in text
    assert first.outputs["token"] == Secret("swordfish")
    assert succeeded(deploy().up()) == {"same": 4}
    assert FileBackend(tmp_path / "empty").load("demo", "dev", secrets).resources == first.resources


def test_a_changed_setting_is_applied_and_all_can_be_destroyed(
    deploy: Callable[[], Deployment], program: Project, tmp_path: Path, secrets: PassphraseSecretsManager
) -> None:
    deploy().up()
    file = StackFile.load(program, "dev")
    file.data["config"]["demo:greeting"] = "another"
    file.save()
    assert succeeded(deploy().preview())["update"] == 1
    assert succeeded(deploy().up())["update"] == 1
    loaded = FileBackend(tmp_path / "empty").load("demo", "dev", secrets)
    assert loaded.outputs["pages"] == 13
    assert succeeded(deploy().destroy()) == {"delete": 4}
    assert FileBackend(tmp_path / "empty").load("demo", "dev", secrets).resources == []
