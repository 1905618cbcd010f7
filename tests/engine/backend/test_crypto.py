from __future__ import annotations

import pytest

from infra.engine.errors import SecretsError, WrongPassphraseError
from infra.engine.project.project import Project, StackFile
from infra.engine.state.crypto import PassphraseSecretsManager


def test_opens_what_the_cli_encrypted(project: Project, secrets: PassphraseSecretsManager) -> None:
    token = StackFile.load(project, "dev").data["config"]["demo:token"]["secure"]
    assert secrets.decrypt(token) == "swordfish"


def test_encrypts_each_time_anew_and_reads_it_back(secrets: PassphraseSecretsManager) -> None:
    first, second = secrets.encrypt("säge"), secrets.encrypt("säge")
    assert first != second
    assert secrets.decrypt(first) == secrets.decrypt(second) == "säge"


def test_a_created_salt_opens_with_its_passphrase_alone() -> None:
    created = PassphraseSecretsManager.create("open sesame")
    salt = created.state["salt"]
    assert salt.startswith("v1:")
    assert PassphraseSecretsManager.open("open sesame", salt).decrypt(created.encrypt("x")) == "x"
    with pytest.raises(WrongPassphraseError, match="PULUMI_CONFIG_PASSPHRASE"):
        PassphraseSecretsManager.open("open barley", salt)


@pytest.mark.parametrize("salt", ["", "v1", "v2:AAAA:v1:AAAA:AAAA", "v1:not base64!:v1:AAAA:AAAA"])
def test_a_damaged_salt_is_told(salt: str) -> None:
    with pytest.raises(SecretsError, match="encryptionsalt is not of the form"):
        PassphraseSecretsManager.open("x", salt)


@pytest.mark.parametrize("text", ["", "plain", "v2:AAAA:BBBB", "v1:AAAA", "v1:AAAAAAAAAAAAAAAA:AAAA", "v1:!:!"])
def test_a_damaged_value_is_told(text: str, secrets: PassphraseSecretsManager) -> None:
    with pytest.raises(SecretsError, match="damaged"):
        secrets.decrypt(text)


def test_no_secret_shows_in_its_repr(secrets: PassphraseSecretsManager) -> None:
    assert "horse" not in repr(secrets)
