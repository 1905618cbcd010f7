"""Which engine is used, and how the Pulumi CLI is called."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Slipway = Callable[..., Any]
FakePulumi = Callable[..., Callable[[], list[dict[str, Any]]]]


def test_up_runs_the_cli_on_the_same_state(slipway: Slipway, root: Path, fake_pulumi: FakePulumi) -> None:
    calls = fake_pulumi()
    assert slipway("up", "--yes").code == 0
    made, up = calls()
    assert made["args"] == ["stack", "init", "local", "--no-select", "--non-interactive"]
    assert up["args"] == ["up", "--stack", "local", "--yes", "--non-interactive"]
    assert up["cwd"] == str(root)
    assert up["env"]["PULUMI_BACKEND_URL"] == f"file://{root}/.slipway"
    assert up["env"]["PULUMI_CONFIG_PASSPHRASE"] == "local"
    assert up["env"]["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert up["env"]["SLIPWAY_DELETE_DATA"] == "0"
    assert (root / ".slipway").stat().st_mode & 0o777 == 0o700


def test_a_stack_that_is_there_is_not_made_again(
    slipway: Slipway, state: Callable[..., None], fake_pulumi: FakePulumi
) -> None:
    state(url="http://127.0.0.1:3000")
    calls = fake_pulumi()
    answer = slipway("up", "--yes")
    assert [call["args"][0] for call in calls()] == ["up"]
    assert "The API is at http://127.0.0.1:3000" in answer.out


def test_preview_and_destroy(
    slipway: Slipway, state: Callable[..., None], fake_pulumi: FakePulumi, fake_module: Callable[..., None]
) -> None:
    fake_module("infra.local.status", collect=lambda _: [])
    state()
    calls = fake_pulumi()
    assert slipway("preview").code == 0
    assert slipway("destroy", "--yes").code == 0
    assert slipway("destroy", "--yes", "--delete-data").code == 0
    preview, destroy, delete = calls()
    assert preview["args"] == ["preview", "--stack", "local", "--non-interactive"]
    assert destroy["args"] == ["destroy", "--stack", "local", "--yes", "--non-interactive"]
    assert destroy["env"]["SLIPWAY_DELETE_DATA"] == "0"
    assert delete["env"]["SLIPWAY_DELETE_DATA"] == "1"


def test_a_destroy_on_aws_runs_the_program(slipway: Slipway, root: Path, fake_pulumi: FakePulumi) -> None:
    """What holds data asks the program before it goes; without the program the CLI refuses the whole destroy."""
    (root / "Pulumi.prod.yaml").write_text("secretsprovider: awskms://alias/x\nconfig:\n  slipway:target: aws\n")
    calls = fake_pulumi()
    slipway("destroy", "--yes", "--stack", "prod")
    assert calls()[-1]["args"] == ["destroy", "--stack", "prod", "--yes", "--run-program", "--non-interactive"]


def test_a_foreign_passphrase_does_not_stop_the_local_stack(
    slipway: Slipway, state: Callable[..., None], fake_pulumi: FakePulumi, monkeypatch: pytest.MonkeyPatch
) -> None:
    state()
    calls = fake_pulumi()
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "of another project")
    slipway("preview")
    assert calls()[0]["env"]["PULUMI_CONFIG_PASSPHRASE"] == "local"


def test_other_stacks_keep_their_environment(
    slipway: Slipway, root: Path, fake_pulumi: FakePulumi, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "Pulumi.prod.yaml").write_text("secretsprovider: awskms://alias/x\nconfig:\n  slipway:target: aws\n")
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://states")
    calls = fake_pulumi()
    slipway("preview", "--stack", "prod")
    known, preview = calls()
    assert known["args"] == ["stack", "--stack", "prod", "--show-name"]
    assert preview["env"]["PULUMI_BACKEND_URL"] == "s3://states"
    assert preview["env"]["PULUMI_CONFIG_PASSPHRASE"] is None


def test_outputs_of_a_remote_backend_are_asked_of_the_cli(
    slipway: Slipway, fake_pulumi: FakePulumi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://states")
    calls = fake_pulumi(output='{"url": "https://x"}')
    assert slipway("outputs", "url").out == "https://x\n"
    assert calls()[0]["args"] == ["stack", "output", "--json", "--stack", "local"]


def test_a_failing_cli_is_exit_code_1(slipway: Slipway, state: Callable[..., None], fake_pulumi: FakePulumi) -> None:
    state()
    fake_pulumi(code=255, output='[{"name": "random", "version": "4.21.0"}]', told={"plugin": (0, "")})
    assert slipway("up", "--yes").code == 1


@pytest.mark.parametrize(("plugins", "helps"), [("[]", True), ('[{"name": "random"}]', False), ("not JSON", False)])
def test_to_do_without_the_cli_is_proposed_where_that_can_help(
    slipway: Slipway, state: Callable[..., None], fake_pulumi: FakePulumi, plugins: str, helps: bool
) -> None:
    """It followed every failure: a replica that does not get healthy fails in the other engine too."""
    state()
    fake_pulumi(code=255, output=plugins)
    answer = slipway("up", "--yes")
    assert answer.code == 1
    assert ("SLIPWAY_ENGINE=inprocess" in answer.err) == helps


def test_nor_is_it_where_the_state_is_out_of_reach(
    slipway: Slipway, fake_pulumi: FakePulumi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://states")
    fake_pulumi(code=255, told={"stack": (0, "")})
    answer = slipway("up", "--yes")
    assert answer.code == 1
    assert "inprocess" not in answer.err


CLOUD = "config:\n  slipway:target: aws\n"


@pytest.mark.parametrize("command", [("preview",), ("destroy", "--yes"), ("up", "--yes")])
@pytest.mark.parametrize("url", [None, "s3://states", "file:///nowhere/states"])
def test_a_cloud_stack_is_never_made_in_passing(
    slipway: Slipway,
    root: Path,
    fake_pulumi: FakePulumi,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    url: str | None,
) -> None:
    """A preview made the stack, and with it the choice of a passphrase where a key of the cloud was wanted."""
    (root / "Pulumi.prod.yaml").write_text(CLOUD)
    if url:
        monkeypatch.setenv("PULUMI_BACKEND_URL", url.replace("/nowhere", str(root)))
    calls = fake_pulumi(told={"stack": (6, "error: no stack named 'prod' found")})
    answer = slipway(*command, "--stack", "prod")
    assert answer.code == 1
    assert "there is no stack 'prod'" in answer.err
    assert "pulumi stack init prod --secrets-provider" in answer.err
    assert [call["args"][:2] for call in calls() if call["args"][0] != "stack"] == []
    assert "init" not in [argument for call in calls() for argument in call["args"]]
    assert (root / "Pulumi.prod.yaml").read_text() == CLOUD


def test_a_cloud_stack_is_where_the_cli_has_it(slipway: Slipway, root: Path, fake_pulumi: FakePulumi) -> None:
    """`pulumi login` chose a bucket; looked for in this project's folder, the stack was never there."""
    (root / "Pulumi.prod.yaml").write_text(CLOUD)
    calls = fake_pulumi()
    assert slipway("preview", "--stack", "prod").code == 0
    assert [call["env"]["PULUMI_BACKEND_URL"] for call in calls()] == [None, None]


def test_whether_a_stack_exists_may_be_unknown(slipway: Slipway, root: Path, fake_pulumi: FakePulumi) -> None:
    (root / "Pulumi.prod.yaml").write_text(CLOUD)
    fake_pulumi(told={"stack": (3, "error: PULUMI_ACCESS_TOKEN must be set for login")})
    answer = slipway("preview", "--stack", "prod")
    assert answer.code == 1
    assert "cannot tell whether stack 'prod' exists" in answer.err
    assert "PULUMI_ACCESS_TOKEN must be set" in answer.err


def test_a_preview_of_a_local_stack_makes_nothing(
    slipway: Slipway, root: Path, fake_pulumi: FakePulumi, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_pulumi()
    previewed = []

    def preview(context: Any) -> int:
        previewed.append(context.stack)
        return 0

    monkeypatch.setattr("infra.cli.deploy.preview", preview)
    assert slipway("preview").code == 0
    assert (previewed, calls()) == (["local"], [])
    assert not list((root / ".slipway").rglob("*.json"))


@pytest.mark.parametrize("engine", ["pulumi", "inprocess"])
def test_a_destroy_of_what_is_not_there_writes_nothing(
    slipway: Slipway,
    root: Path,
    fake_pulumi: FakePulumi,
    fake_module: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
) -> None:
    """It gave a stack with no salt one, for nothing."""
    fake_module("infra.local.status", collect=lambda _: [])
    calls = fake_pulumi()
    monkeypatch.setenv("SLIPWAY_ENGINE", engine)
    file = root / "Pulumi.demo.yaml"
    file.write_text("config:\n  slipway:target: local\n")
    answer = slipway("destroy", "--yes", "--stack", "demo")
    assert answer.code == 0, answer.err
    assert "there is nothing to destroy" in answer.err
    assert file.read_text() == "config:\n  slipway:target: local\n"
    assert calls() == []


@pytest.fixture
def lock(root: Path) -> Callable[..., Path]:
    """Writes a lock file of the local stack."""

    def write(pid: int) -> Path:
        path = root / ".slipway/.pulumi/locks/organization/slipway/local/0b0f7a52.json"
        path.parent.mkdir(parents=True)
        owner = {"username": "ada", "hostname": socket.gethostname(), "timestamp": "2099-01-01T00:00:00Z"}
        path.write_text(json.dumps(owner | {"pid": pid}))
        return path

    return write


def test_a_dead_runs_lock_is_removed_before_the_cli_meets_it(
    slipway: Slipway, state: Callable[..., None], fake_pulumi: FakePulumi, lock: Callable[..., Path]
) -> None:
    """After a killed `up` in process the CLI stopped at the lock, and asked for `pulumi cancel`."""
    state()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path = lock(gone.pid)
    calls = fake_pulumi()
    answer = slipway("up", "--yes")
    assert answer.code == 0
    assert f"took over the lock of a run that did not end properly (ada@{socket.gethostname()}" in answer.err
    assert not path.exists()
    assert [call["args"][0] for call in calls()] == ["up"]


def test_a_living_runs_lock_stops_before_the_cli_does(
    slipway: Slipway, state: Callable[..., None], fake_pulumi: FakePulumi, lock: Callable[..., Path]
) -> None:
    state()
    path = lock(os.getpid())
    calls = fake_pulumi()
    answer = slipway("destroy", "--yes")
    assert answer.code == 1
    assert f"process {os.getpid()}" in answer.err
    assert calls() == []
    assert slipway("preview").code == 0, "a preview takes no lock, and heeds none"
    assert path.exists()


def test_the_committed_file_of_the_local_stack_comes_back(
    slipway: Slipway, root: Path, fake_pulumi: FakePulumi
) -> None:
    """`pulumi stack rm`, which the CLI proposes after each destroy, deletes it, and then nothing worked."""
    file = root / "Pulumi.local.yaml"
    committed = file.read_bytes()
    file.unlink()
    fake_pulumi()
    answer = slipway("up", "--yes")
    assert answer.code == 1
    assert "there is no stack 'local'" in answer.err
    assert "`slipway up` takes it back from git's last commit" in answer.err
    file.write_bytes(committed)
    git = ["git", "-c", "user.name=ada", "-c", "user.email=ada@example.com"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], cwd=root, check=True)
    file.unlink()
    answer = slipway("up", "--yes")
    assert answer.code == 0, answer.err
    assert "Pulumi.local.yaml was gone, and is taken back from the last commit" in answer.err
    assert file.read_bytes() == committed


def test_what_the_cli_proposes_after_a_destroy_is_told_of(
    slipway: Slipway, state: Callable[..., None], fake_pulumi: FakePulumi
) -> None:
    state()
    fake_pulumi()
    assert "add --preserve-config" in slipway("destroy", "--yes").err


def test_an_old_cli_is_refused(slipway: Slipway, fake_pulumi: FakePulumi) -> None:
    calls = fake_pulumi(version="v3.237.9")
    answer = slipway("up", "--yes")
    assert answer.code == 1
    assert "needs 3.238 or newer" in answer.err
    assert "SLIPWAY_ENGINE=inprocess" in answer.err
    assert calls() == []


def test_a_broken_cli_is_refused(slipway: Slipway, fake_pulumi: FakePulumi) -> None:
    fake_pulumi(version="segmentation fault")
    assert "does not say its version" in slipway("preview").err


def test_an_unknown_stack_is_not_made(slipway: Slipway, fake_pulumi: FakePulumi) -> None:
    calls = fake_pulumi()
    assert "there is no stack 'lokal'" in slipway("up", "--yes", "--stack", "lokal").err
    assert calls() == []


def test_the_engine_that_is_asked_for(slipway: Slipway, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(root))
    monkeypatch.setenv("SLIPWAY_ENGINE", "pulumi")
    assert "no pulumi is on PATH" in slipway("preview").err
    monkeypatch.setenv("SLIPWAY_ENGINE", "other")
    assert "it can be auto, inprocess, pulumi" in slipway("preview").err


@pytest.mark.parametrize("command", ["up", "destroy"])
def test_without_a_terminal_yes_is_needed(slipway: Slipway, fake_pulumi: FakePulumi, command: str) -> None:
    calls = fake_pulumi()
    answer = slipway(command)
    assert answer.code == 2
    assert f"slipway {command} --yes" in answer.err
    assert calls() == []


def test_a_remote_backend_without_the_cli_is_told(
    slipway: Slipway, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://states")
    monkeypatch.setenv("PATH", str(root))
    for command in (("outputs",), ("up", "--yes")):
        assert "only the Pulumi CLI can reach" in slipway(*command).err


def test_delete_data_deletes_what_an_earlier_destroy_left(
    slipway: Slipway, root: Path, fake_pulumi: FakePulumi, fake_module: Callable[..., None]
) -> None:
    fake_pulumi()
    fake_module("infra.local.status", collect=lambda _: [])
    data = root / ".slipway" / "local" / "postgres"
    data.mkdir(parents=True)
    assert "The data stays in" in slipway("destroy", "--yes").out
    assert data.exists()
    assert "the data is deleted" in slipway("destroy", "--yes", "--delete-data").out
    assert not data.parent.exists()
    assert "There is no data" in slipway("destroy", "--yes").out


def test_data_of_what_still_runs_is_not_deleted(
    slipway: Slipway, root: Path, fake_pulumi: FakePulumi, fake_module: Callable[..., None]
) -> None:
    fake_pulumi()
    fake_module("infra.local.status", collect=lambda _: [types.SimpleNamespace(name="postgres")])
    data = root / ".slipway" / "local" / "postgres"
    data.mkdir(parents=True)
    answer = slipway("destroy", "--yes", "--delete-data")
    assert answer.code == 1
    assert "postgres still runs there" in answer.err
    assert data.exists()


def test_in_process_the_providers_are_told_for_the_time_of_the_destroy(
    slipway: Slipway, root: Path, monkeypatch: pytest.MonkeyPatch, fake_module: Callable[..., None]
) -> None:
    seen: list[str | None] = []

    def change(*_: object, **__: object) -> int:
        seen.append(os.environ.get("SLIPWAY_DELETE_DATA"))
        return 0

    monkeypatch.setattr("infra.cli.deploy.change", change)
    monkeypatch.delenv("SLIPWAY_DELETE_DATA", raising=False)
    fake_module("infra.local.status", collect=lambda _: [])
    assert slipway("destroy", "--yes").code == 0
    assert slipway("destroy", "--yes", "--delete-data").code == 0
    assert seen == ["0", "1"]
    assert "SLIPWAY_DELETE_DATA" not in os.environ
