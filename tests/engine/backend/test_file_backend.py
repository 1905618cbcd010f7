from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from infra.engine.errors import SecretsError, StateError
from infra.engine.state import files
from infra.engine.state.backend import FileBackend, UpdateInfo
from infra.engine.state.crypto import PassphraseSecretsManager
from infra.engine.state.snapshot import ResourceState, Snapshot
from infra.engine.values import BLINDED, Secret


def thing(**outputs: Any) -> ResourceState:
    return ResourceState(
        urn="urn:pulumi:dev::demo::pulumi:pulumi:Stack::demo-dev",
        type="pulumi:pulumi:Stack",
        custom=False,
        outputs=outputs,
    )


@pytest.fixture
def empty(tmp_path: Path) -> FileBackend:
    return FileBackend(tmp_path / "new" / "state")


def test_a_stack_without_state_is_empty_and_nothing_is_written(empty: FileBackend) -> None:
    assert empty.load("demo", "dev", None) == Snapshot(stack="dev", project="demo")
    assert not empty.root.exists()


def test_what_is_saved_is_loaded(empty: FileBackend, secrets: PassphraseSecretsManager) -> None:
    snapshot = Snapshot(stack="dev", project="demo", resources=[thing(url="http://x", token=Secret("s"))])
    empty.save(snapshot, secrets)
    assert FileBackend(empty.root).load("demo", "dev", secrets) == snapshot


def test_the_layout_is_the_clis(empty: FileBackend, secrets: PassphraseSecretsManager) -> None:
    snapshot = Snapshot(stack="dev", project="demo", resources=[thing(a=1)])
    empty.save(snapshot, secrets)
    empty.save(snapshot, secrets)
    info = UpdateInfo(kind="update", start_time=10, end_time=12, succeeded=True, changes={"create": 1, "same": 0})
    empty.finish(snapshot, secrets, info)
    folder = empty.root / ".pulumi"
    assert (folder / "meta.yaml").read_text() == "version: 1\n"
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    nanos = next((folder / "backups/demo/dev").glob("*.json")).name.split(".")[1]
    names = [
        f"backups/demo/dev/dev.{nanos}.json",
        f"history/demo/dev/dev-{nanos}.checkpoint.json",
        f"history/demo/dev/dev-{nanos}.history.json",
        "meta.yaml",
        "stacks/demo/dev.json",
        "stacks/demo/dev.json.bak",
    ]
    assert found == sorted(names + [f"{name}.attrs" for name in names])


def test_the_history_entry_has_the_fields_of_the_clis(empty: FileBackend, secrets: PassphraseSecretsManager) -> None:
    recorded = json.loads((Path(__file__).parent / "data" / "history.json").read_text())
    info = UpdateInfo(
        kind="update",
        start_time=recorded["startTime"],
        end_time=recorded["endTime"],
        succeeded=True,
        config=recorded["config"],
        changes=recorded["resourceChanges"],
        environment=recorded["environment"],
    )
    empty.finish(Snapshot(stack="dev", project="demo"), secrets, info)
    entry = next((empty.root / ".pulumi/history/demo/dev").glob("*.history.json"))
    assert json.loads(entry.read_text()) == recorded
    assert list(json.loads(entry.read_text())) == list(recorded)


def test_a_failed_update_says_so() -> None:
    info = UpdateInfo(kind="destroy", start_time=1, end_time=2, succeeded=False).to_json()
    assert (info["kind"], info["result"]) == ("destroy", "failed")
    assert "resourceChanges" not in info


def test_checksums_beside_the_files_are_right(empty: FileBackend, secrets: PassphraseSecretsManager) -> None:
    for number in range(3):
        empty.save(Snapshot(stack="dev", project="demo", resources=[thing(a=number)]), secrets)
    for path in (empty.root / ".pulumi").rglob("*.attrs"):
        content = path.with_name(path.name.removesuffix(".attrs")).read_bytes()
        assert json.loads(path.read_text())["md5"] == base64.b64encode(hashlib.md5(content).digest()).decode()


def test_only_this_user_can_read_the_state(empty: FileBackend, secrets: PassphraseSecretsManager) -> None:
    mask = os.umask(0)
    try:
        empty.save(Snapshot(stack="dev", project="demo"), secrets)
    finally:
        os.umask(mask)
    for path in [empty.root, *empty.root.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_the_backup_is_the_state_before(empty: FileBackend, secrets: PassphraseSecretsManager) -> None:
    empty.save(Snapshot(stack="dev", project="demo", resources=[thing(a=1)]), secrets)
    first = empty.state_file("demo", "dev").read_bytes()
    empty.save(Snapshot(stack="dev", project="demo", resources=[thing(a=2)]), secrets)
    backup = empty.state_file("demo", "dev").with_name("dev.json.bak")
    assert backup.read_bytes() == first
    assert empty.load("demo", "dev", secrets).outputs == {"a": 2}


def test_a_backup_is_kept_without_hard_links(
    empty: FileBackend, secrets: PassphraseSecretsManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    test_the_backup_is_the_state_before(empty, secrets)


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_state(
    failing: str, backend: FileBackend, secrets: PassphraseSecretsManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = backend.load("demo", "dev", secrets)
    backend.save(snapshot, secrets)
    before = {path: path.read_bytes() for path in backend.root.rglob("*") if path.is_file()}
    snapshot.resources.clear()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        target = {"write": (files, "_write_new"), "fsync": (os, "fsync"), "replace": (Path, "replace")}[failing]
        patch.setattr(*target, full)
        with pytest.raises(StateError, match=r"no space left.*intact.*free some space"):
            backend.save(snapshot, secrets)
    assert {path: path.read_bytes() for path in backend.root.rglob("*") if path.is_file()} == before
    backend.save(snapshot, secrets)
    assert backend.load("demo", "dev", secrets).resources == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(backend: FileBackend, secrets: PassphraseSecretsManager) -> None:
    snapshot = backend.load("demo", "dev", secrets)
    folder = backend.state_file("demo", "dev").parent
    folder.chmod(0o500)
    try:
        with pytest.raises(StateError, match="make the folder writable"):
            backend.save(snapshot, secrets)
    finally:
        folder.chmod(0o700)


def test_a_damaged_state_names_its_backup(backend: FileBackend, secrets: PassphraseSecretsManager) -> None:
    backend.save(backend.load("demo", "dev", secrets), secrets)
    path = backend.state_file("demo", "dev")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(StateError) as caught:
        backend.load("demo", "dev", secrets)
    backup = path.with_name("dev.json.bak")
    assert f"cp {backup} {path}" in str(caught.value)
    path.write_bytes(backup.read_bytes())
    assert backend.load("demo", "dev", secrets).resources


def test_the_state_can_be_read_without_secrets_but_not_saved(
    backend: FileBackend, secrets: PassphraseSecretsManager
) -> None:
    snapshot = backend.load("demo", "dev", None)
    assert snapshot.outputs["key"] == Secret(BLINDED)
    with pytest.raises(ValueError, match="blanks"):
        backend.save(snapshot, secrets)


def test_a_state_of_another_salt_opens_with_the_same_passphrase(
    backend: FileBackend, secrets: PassphraseSecretsManager
) -> None:
    again = PassphraseSecretsManager.create("correct horse")
    snapshot = backend.load("demo", "dev", again)
    assert snapshot == backend.load("demo", "dev", secrets)
    snapshot = backend.load("demo", "dev", again)
    backend.save(snapshot, again)
    assert FileBackend(backend.root).load("demo", "dev", again) == snapshot


def test_another_secrets_provider_is_refused(backend: FileBackend, secrets: PassphraseSecretsManager) -> None:
    path = backend.state_file("demo", "dev")
    document = json.loads(path.read_text())
    document["checkpoint"]["latest"]["secrets_providers"] = {"type": "cloud", "state": {"url": "awskms://alias/x"}}
    path.write_text(json.dumps(document))
    with pytest.raises(SecretsError, match=r"'cloud'.*use the Pulumi CLI"):
        backend.load("demo", "dev", secrets)


@pytest.mark.parametrize(
    ("text", "told"), [("version: 0\n", "pulumi state upgrade"), ("version: 2\n", "knows 1"), ("", "nothing")]
)
def test_another_layout_is_refused(backend: FileBackend, text: str, told: str) -> None:
    (backend.root / ".pulumi" / "meta.yaml").write_text(text)
    with pytest.raises(StateError, match=told):
        backend.load("demo", "dev", None)


def test_a_layout_without_projects_is_refused(backend: FileBackend) -> None:
    (backend.root / ".pulumi" / "meta.yaml").unlink()
    (backend.root / ".pulumi" / "stacks" / "dev.json").write_text("{}")
    with pytest.raises(StateError, match="pulumi state upgrade"):
        backend.load("demo", "dev", None)


def test_a_compressed_state_is_not_taken_for_none(backend: FileBackend) -> None:
    path = backend.state_file("demo", "dev")
    path.rename(path.with_name("dev.json.gz"))
    with pytest.raises(StateError, match="compressed"):
        backend.load("demo", "dev", None)


def test_saving_is_quick(backend: FileBackend, secrets: PassphraseSecretsManager) -> None:
    """An `up` saves twice a resource; ciphertexts of unchanged secrets are reused, so that is cheap."""
    snapshot = backend.load("demo", "dev", secrets)
    calls = []
    original = PassphraseSecretsManager.encrypt
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PassphraseSecretsManager, "encrypt", lambda self, text: calls.append(1) or original(self, text))
        for _ in range(20):
            backend.save(snapshot, secrets)
    assert calls == []
