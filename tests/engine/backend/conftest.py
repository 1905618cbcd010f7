"""A stack as the Pulumi CLI 3.260 wrote it, and the means to work on copies of it.

`data/` was recorded from a program with a component, a random password, dynamic resources with secret inputs, assets,
a hook, timeouts, protection and a replacement trigger. Only the pickled providers were cut down.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from infra.engine.project.project import Project, StackFile, load_project
from infra.engine.state.backend import FileBackend
from infra.engine.state.crypto import PassphraseSecretsManager

DATA = Path(__file__).parent / "data"
PASSPHRASE = "correct horse"


@pytest.fixture(autouse=True)
def _no_passphrase_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_BACKEND_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def secrets() -> PassphraseSecretsManager:
    """The manager of the recorded stack: one key derivation for all tests."""
    salt = StackFile.load(load_project(DATA), "dev").encryption_salt
    assert salt is not None
    return PassphraseSecretsManager.open(PASSPHRASE, salt)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A copy of the recorded project."""
    root = tmp_path / "project"
    (root / "stacks").mkdir(parents=True)
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml"):
        shutil.copy(DATA / name, root / name)
    return load_project(root)


@pytest.fixture
def recorded() -> bytes:
    """The recorded checkpoint."""
    return (DATA / "dev.json").read_bytes()


@pytest.fixture
def backend(tmp_path: Path, recorded: bytes) -> FileBackend:
    """A backend that holds the recorded checkpoint and nothing else but the layout's version."""
    folder = tmp_path / "state" / ".pulumi"
    (folder / "stacks" / "demo").mkdir(parents=True)
    (folder / "meta.yaml").write_text("version: 1\n")
    (folder / "stacks" / "demo" / "dev.json").write_bytes(recorded)
    return FileBackend(tmp_path / "state")


PROGRAM = '''\
"""A program with what the local stack is made of: a component, random secrets, dynamic resources."""

import pulumi
import pulumi_random as random
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult


class Notebook(ResourceProvider):
    def create(self, props):
        return CreateResult("note-1", {**props, "pages": 12.0, "hidden": "ink"})

    def diff(self, id, olds, news):
        return DiffResult(changes=olds["title"] != news["title"])

    def update(self, id, olds, news):
        return UpdateResult({**news, "pages": 13.0, "hidden": "ink"})


class Note(Resource):
    pages: pulumi.Output[float]

    def __init__(self, name, title, key, opts=None):
        props = {"title": title, "key": key, "list": [1, 2.5, {"key": key}], "pages": None, "hidden": None}
        super().__init__(Notebook(), name, props, opts)


class Desk(pulumi.ComponentResource):
    def __init__(self, name, title):
        super().__init__("demo:index:Desk", name)
        mine = pulumi.ResourceOptions(parent=self)
        self.key = random.RandomPassword("key", length=24, special=False, keepers={"generation": "1"}, opts=mine)
        more = pulumi.ResourceOptions(
            custom_timeouts=pulumi.CustomTimeouts(create="90s"), additional_secret_outputs=["hidden"]
        )
        self.note = Note("note", title, self.key.result, pulumi.ResourceOptions.merge(mine, more))
        self.register_outputs({"pages": self.note.pages})


config = pulumi.Config()
desk = Desk("desk", config.get("greeting"))
pulumi.export("key", desk.key.result)
pulumi.export("pages", desk.note.pages)
pulumi.export("token", config.get_secret("token"))
pulumi.export("limits", config.get_object("limits"))
'''


@pytest.fixture
def program(project: Project) -> Project:
    """The project with a program in it."""
    (project.main / "__main__.py").write_text(PROGRAM)
    return project
