"""A small project for the command to work on, and ways to call it."""

from __future__ import annotations

import io
import json
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.cli import main
from infra.engine.state.backend import FileBackend
from infra.engine.state.crypto import PassphraseSecretsManager
from infra.engine.state.snapshot import ResourceState, Snapshot

STACK_FILE = """\
# about this stack
config:
  slipway:target: local
  slipway:api:
    replicas: 2 # two of them
"""


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def local_secrets() -> PassphraseSecretsManager:
    return PassphraseSecretsManager.create("local")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_secrets: PassphraseSecretsManager) -> Path:
    """The project's folder, which is the working directory, with nothing of the developer's environment."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "Pulumi.yaml").write_text("name: slipway\nruntime: python\nmain: stacks/\n")
    (root / "Pulumi.local.yaml").write_text(f"{STACK_FILE}encryptionsalt: {local_secrets.encryption_salt}\n")
    monkeypatch.chdir(root)
    for name in (
        "SLIPWAY_STACK",
        "PULUMI_BACKEND_URL",
        "PULUMI_CONFIG_PASSPHRASE",
        "PULUMI_CONFIG_PASSPHRASE_FILE",
        "CI",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLIPWAY_ENGINE", "inprocess")
    return root


@pytest.fixture
def slipway(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Calls the command in this process: ``slipway("config", "get", stdin="...")``."""

    def call(*arguments: str, stdin: str = "") -> Answer:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            code = main(arguments)
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return call


@pytest.fixture
def state(root: Path, local_secrets: PassphraseSecretsManager) -> Callable[..., None]:
    """Writes a state of the local stack with the given outputs."""

    def write(**outputs: Any) -> None:
        stack = ResourceState(
            urn="urn:pulumi:local::slipway::pulumi:pulumi:Stack::slipway-local",
            type="pulumi:pulumi:Stack",
            custom=False,
            outputs=outputs,
        )
        child = ResourceState(
            urn="urn:pulumi:local::slipway::slipway:local:Postgres::postgres",
            type="slipway:local:Postgres",
            custom=False,
            parent=stack.urn,
        )
        snapshot = Snapshot(stack="local", project="slipway", resources=[stack, child])
        FileBackend(root / ".slipway").save(snapshot, local_secrets)

    return write


@pytest.fixture
def fake_module(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a module with the given members in place of a real one."""

    def put(name: str, **members: Any) -> None:
        module = types.ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)

    return put


@pytest.fixture
def fake_pulumi(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Callable[[], list[dict[str, Any]]]]:
    """Puts a `pulumi` on PATH that answers as told; returns what reads its calls back.

    `told`: by first argument, the exit code and what goes to standard error, in place of `code`.
    """

    def put(
        *,
        version: str = "v3.260.0",
        code: int = 0,
        output: str = "",
        told: Mapping[str, tuple[int, str]] = types.MappingProxyType({}),
    ) -> Callable[[], list[dict[str, Any]]]:
        folder, record = tmp_path / "bin", tmp_path / "calls"
        folder.mkdir(exist_ok=True)
        program = folder / "pulumi"
        program.write_text(
            f"""#!{sys.executable} -SE
import json, os, sys
if sys.argv[1:] == ["version"]:
    print({version!r})
    sys.exit(0)
names = ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "SLIPWAY_DELETE_DATA", "PATH")
with open({str(record)!r}, "a") as file:
    call = {{"args": sys.argv[1:], "cwd": os.getcwd(), "env": {{name: os.environ.get(name) for name in names}}}}
    file.write(json.dumps(call) + "\\n")
told = {dict(told)!r}.get(sys.argv[1])
if told:
    sys.stderr.write(told[1])
    sys.exit(told[0])
print({output!r}, end="")
sys.exit({code} if sys.argv[1] != "stack" or {output!r} else 0)
"""
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        monkeypatch.setenv("SLIPWAY_ENGINE", "auto")
        return lambda: [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []

    return put
