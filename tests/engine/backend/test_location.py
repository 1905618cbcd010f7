from __future__ import annotations

from pathlib import Path

import pytest

from infra.engine.errors import EngineError, SecretsError, WrongPassphraseError
from infra.engine.project.location import (
    backend_url,
    open_or_create_secrets,
    open_secrets,
    state_root,
    working_passphrase,
)
from infra.engine.project.project import Project, StackFile
from infra.engine.state.crypto import PassphraseSecretsManager


@pytest.fixture
def local(project: Project) -> StackFile:
    """The `local` stack, with a salt for its published passphrase."""
    salt = PassphraseSecretsManager.create("local").encryption_salt
    project.stack_file("local").write_text(f"encryptionsalt: {salt}\n")
    return StackFile.load(project, "local")


def test_the_state_is_in_the_project_unless_said_otherwise(project: Project, tmp_path: Path) -> None:
    assert state_root(project, {}) == project.root / ".slipway"
    assert backend_url(project, {}) == f"file://{project.root}/.slipway"
    assert state_root(project, {"PULUMI_BACKEND_URL": f"file://{tmp_path}/x/../y?metadata=skip"}) == tmp_path / "y"
    assert state_root(project, {"PULUMI_BACKEND_URL": "file://~"}) == Path.home()
    assert state_root(project, {"PULUMI_BACKEND_URL": "file://."}) == Path.cwd()


@pytest.mark.parametrize("url", ["s3://bucket", "https://api.pulumi.com", "nonsense"])
def test_other_backends_need_the_cli(project: Project, url: str) -> None:
    with pytest.raises(EngineError, match="only the Pulumi CLI can reach"):
        state_root(project, {"PULUMI_BACKEND_URL": url})


def test_the_passphrase_comes_from_the_environment_or_a_file(project: Project, tmp_path: Path) -> None:
    file = StackFile.load(project, "dev")
    secure = file.data["config"]["demo:token"]["secure"]
    word = tmp_path / "passphrase"
    word.write_text("correct horse\n")
    for environ in (
        {"PULUMI_CONFIG_PASSPHRASE": "correct horse"},
        {"PULUMI_CONFIG_PASSPHRASE_FILE": str(word)},
        {"PULUMI_CONFIG_PASSPHRASE": "correct horse", "PULUMI_CONFIG_PASSPHRASE_FILE": "/nowhere"},
    ):
        assert open_secrets(file, environ).decrypt(secure) == "swordfish"


def test_no_wrong_and_unreadable_passphrases_are_told(project: Project) -> None:
    file = StackFile.load(project, "dev")
    with pytest.raises(SecretsError, match="'dev' needs its passphrase"):
        open_secrets(file, {})
    with pytest.raises(WrongPassphraseError):
        open_secrets(file, {"PULUMI_CONFIG_PASSPHRASE": "local"})
    with pytest.raises(SecretsError, match="cannot read PULUMI_CONFIG_PASSPHRASE_FILE /nowhere"):
        open_secrets(file, {"PULUMI_CONFIG_PASSPHRASE_FILE": "/nowhere"})


def test_the_local_stack_opens_with_nothing_set_or_something_else_set(local: StackFile) -> None:
    assert open_secrets(local, {}).encryption_salt == local.encryption_salt
    assert open_secrets(local, {"PULUMI_CONFIG_PASSPHRASE": "of another project"})
    assert working_passphrase(local, {"PULUMI_CONFIG_PASSPHRASE": "of another project"}) == "local"
    assert working_passphrase(local, {}) == "local"


def test_a_local_stack_with_a_passphrase_of_its_own_uses_that(local: StackFile) -> None:
    local.encryption_salt = PassphraseSecretsManager.create("mine").encryption_salt
    assert working_passphrase(local, {"PULUMI_CONFIG_PASSPHRASE": "mine"}) == "mine"
    with pytest.raises(WrongPassphraseError):
        open_secrets(local, {})


def test_a_stack_without_a_salt_gets_one_when_it_needs_it(project: Project) -> None:
    project.stack_file("new").write_text("# kept\nconfig:\n  demo:a: 1\n")
    file = StackFile.load(project, "new")
    environ = {"PULUMI_CONFIG_PASSPHRASE": "chosen"}
    with pytest.raises(SecretsError, match="no encryptionsalt yet"):
        open_secrets(file, environ)
    manager = open_or_create_secrets(file, environ)
    assert file.path.read_text().startswith("# kept\nconfig:\n  demo:a: 1\n")
    assert open_secrets(StackFile.load(project, "new"), environ).decrypt(manager.encrypt("x")) == "x"


def test_another_secrets_provider_needs_the_cli(project: Project) -> None:
    project.stack_file("kms").write_text("secretsprovider: awskms://alias/x\nencryptedkey: abc\n")
    file = StackFile.load(project, "kms")
    with pytest.raises(SecretsError, match=r"awskms://alias/x, which only the Pulumi CLI"):
        open_or_create_secrets(file, {"PULUMI_CONFIG_PASSPHRASE": "x"})
