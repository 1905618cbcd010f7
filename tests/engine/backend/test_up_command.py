"""`slipway up`, `preview` and `destroy` with the engine in process, on a small program."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.cli import deploy, main
from infra.cli.console import Console
from infra.cli.context import Context
from infra.engine.project.project import Project
from infra.engine.state.backend import FileBackend

PASSPHRASE = "correct horse"
SLOW = """
import pathlib, time
import pulumi
from pulumi.dynamic import CreateResult, Resource, ResourceProvider


class Slow(ResourceProvider):
    def create(self, props):
        place = pathlib.Path(props["place"])
        place.write_text("begun")
        deadline = time.monotonic() + 30
        while place.read_text() == "begun" and time.monotonic() < deadline:
            time.sleep(0.02)
        return CreateResult("slow-1", props)


class Thing(Resource):
    def __init__(self, name, place, opts=None):
        super().__init__(Slow(), name, {"place": place}, opts)


first = Thing("first", pulumi.Config().require("place"))
"""


@pytest.fixture(autouse=True)
def environment(program: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(program.root)
    monkeypatch.setenv("SLIPWAY_ENGINE", "inprocess")
    monkeypatch.setenv("SLIPWAY_STACK", "dev")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", PASSPHRASE)


def counts(out: str) -> str:
    """The text of the Resources section."""
    found = re.search(r"Resources:\n((?:    ?.*\n|  .*\n)+)", out)
    assert found, out
    return " ".join(found[1].split())


def test_up_then_nothing_to_do_then_destroy(program: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--yes"]) == 0
    first = capsys.readouterr()
    assert "4 created" in first.out
    assert "swordfish" not in first.out + first.err
    assert main(["up", "--yes"]) == 0
    again = capsys.readouterr().out
    assert "4 unchanged" in counts(again)
    assert "creating" not in again
    assert main(["outputs", "limits"]) == 0
    assert capsys.readouterr().out == '{"count": 3}\n'
    assert main(["destroy", "--yes"]) == 0
    assert "4 deleted" in capsys.readouterr().out
    folder = program.root / ".slipway/.pulumi/history/demo/dev"
    entries = [json.loads(path.read_text()) for path in sorted(folder.glob("*.history.json"))]
    assert [(e["kind"], e["result"], e["resourceChanges"]) for e in entries] == [
        ("update", "succeeded", {"create": 4}),
        ("destroy", "succeeded", {"delete": 4}),
    ]
    assert entries[0]["config"]["demo:token"]["secure"].startswith("v1:")


def test_preview_changes_nothing(program: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview"]) == 0
    assert "4 to create" in capsys.readouterr().out
    assert not (program.root / ".slipway").exists()


def test_a_plan_needs_no_passphrase_and_shows_no_secret(
    program: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE")
    assert main(["plan"]) == 0
    assert capsys.readouterr().out == (
        "demo-dev  pulumi:pulumi:Stack\n"
        "  desk  demo:index:Desk\n"
        "    key  random:index/randomPassword:RandomPassword\n"
        "    note  pulumi-python:dynamic:Resource\n"
        "\n"
        "4 resources\n"
        "Outputs:\n"
        "  key: [secret]\n"
        '  limits: {"count": 3}\n'
        "  pages: [unknown]\n"
        "  token: [secret]\n"
    )
    assert main(["plan", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert sorted(document) == ["outputs", "resources", "stack"]
    keys = ["dependencies", "inputs", "name", "options", "parent", "type", "urn"]
    assert all(sorted(resource) == keys for resource in document["resources"])
    assert not (program.root / ".slipway").exists()


def test_a_plan_passes_warnings_on(program: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (program.main / "__main__.py").write_text("import pulumi\npulumi.log.warn('mind the gap')\nprint('hello')\n")
    assert main(["plan", "--format", "json"]) == 0
    told = capsys.readouterr()
    assert "warning: mind the gap" in told.err
    json.loads(told.out)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def asked(typed: str, **environ: str) -> tuple[Context, Terminal]:
    """A context on a terminal without colour at which `typed` is typed."""
    out = Terminal()
    console = Console(out=out, err=out, input=Terminal(typed), environ={"NO_COLOR": "1"})
    return Context(stack="dev", console=console, environ={"PULUMI_CONFIG_PASSPHRASE": PASSPHRASE, **environ}), out


def test_on_a_terminal_it_shows_and_asks(program: Project) -> None:
    context, out = asked("no\n")
    assert deploy.change(context, "up", confirmed=False) == 1
    assert "4 to create" in out.getvalue()
    assert "Make these changes? [y/N]" in out.getvalue()
    assert "nothing was changed" in out.getvalue()
    assert not context.backend.exists("demo", "dev")

    context, out = asked("y\n")
    assert deploy.change(context, "up", confirmed=False) == 0
    assert "4 created" in out.getvalue()

    context, out = asked("\n")
    assert deploy.change(context, "destroy", confirmed=False) == 1
    assert "will lose 3 resources" in out.getvalue()
    assert context.backend.load("demo", "dev", None).resources


def test_a_live_display_gives_the_terminal_back_before_it_asks(program: Project) -> None:
    context, out = asked("y\n")
    context.console.environ = {"TERM": "xterm"}
    assert deploy.change(context, "up", confirmed=False) == 0
    assert out.getvalue().count("\033[?25l") == out.getvalue().count("\033[?25h"), "the cursor is shown again"
    assert "Make these changes?" in out.getvalue()


def test_a_failing_program_is_one_message(program: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (program.main / "__main__.py").write_text("import pulumi\nraise pulumi.RunError('the moon is too far')\n")
    assert main(["up", "--yes"]) == 1
    told = capsys.readouterr()
    assert "the moon is too far" in told.out + told.err
    assert "Traceback" not in told.out + told.err


@pytest.mark.parametrize("command", ["up --yes", "preview", "destroy --yes"])
def test_a_stack_in_a_cloud_is_refused_before_its_file_is_touched(
    program: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """An `up` of staging with a passphrase in the environment wrote a salt of that passphrase into its file."""
    monkeypatch.setenv("SLIPWAY_STACK", "cloud")
    file = program.stack_file("cloud")
    file.write_text(f"config:\n  {program.name}:target: aws\n")
    before = file.read_text()
    assert main(command.split()) == 1
    told = capsys.readouterr().err
    assert "stack 'cloud' runs on aws" in told
    assert "Install the Pulumi CLI" in told
    assert file.read_text() == before


def test_a_package_that_needs_a_plugin_is_refused_before_anything_is_made(
    program: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (program.main / "__main__.py").read_text()
    (program.main / "__main__.py").write_text(
        f"{code}\npulumi.CustomResource('aws:s3/bucket:Bucket', 'bucket', {{}})\n"
    )
    assert main(["up", "--yes"]) == 1
    told = "".join(capsys.readouterr())
    assert "aws" in told
    assert "https://www.pulumi.com/docs/install/" in told
    assert FileBackend(program.root / ".slipway").load("demo", "dev", None).resources == []


def test_a_wrong_passphrase_is_one_message(
    program: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "battery staple")
    assert main(["up", "--yes"]) == 1
    assert capsys.readouterr().err.startswith("error: wrong passphrase for this stack's secrets")


def test_two_ups_exclude_each_other(program: Project, capsys: pytest.CaptureFixture[str]) -> None:
    with FileBackend(program.root / ".slipway").lock("demo", "dev"):
        assert main(["up", "--yes"]) == 1
    assert "stack 'dev' is locked by another run" in capsys.readouterr().err


@pytest.fixture
def slow_up(program: Project, tmp_path: Path) -> Any:
    """Starts `slipway up` on a program whose one resource waits; returns the process and the file to write to."""
    place = tmp_path / "place"
    (program.main / "__main__.py").write_text(SLOW)
    file = program.stack_file("dev")
    file.write_text(file.read_text().replace("config:\n", f"config:\n  demo:place: {place}\n", 1))
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], Path]:
        place.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "up", "--yes"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=dict(os.environ),
            start_new_session=True,
        )
        started.append(process)
        deadline = time.monotonic() + 30
        while not (place.exists() and place.read_text()) and time.monotonic() < deadline:
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.02)
        return process, place

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def test_ctrl_c_ends_in_order_with_130(
    slow_up: Callable[[], tuple[subprocess.Popen[str], Path]], program: Project
) -> None:
    process, place = slow_up()
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    before = []
    while "interrupted" not in "".join(before):
        before.append(process.stdout.readline())
        assert before[-1], before
    place.write_text("go on")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130, out
    assert "Traceback" not in out
    state = FileBackend(program.root / ".slipway").load("demo", "dev", None)
    assert [r.urn.rpartition("::")[2] for r in state.resources if r.type.startswith("pulumi-python:")] == ["first"]
    assert state.pending == []
    assert list((program.root / ".slipway/.pulumi/locks").rglob("*.json")) == []


def test_after_a_kill_the_next_up_goes_on(
    slow_up: Callable[[], tuple[subprocess.Popen[str], Path]], program: Project
) -> None:
    process, _ = slow_up()
    process.kill()
    process.wait()
    state = FileBackend(program.root / ".slipway").load("demo", "dev", None)
    assert [operation.kind for operation in state.pending] == ["creating"]
    process, place = slow_up()
    place.write_text("go on")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0, out
    assert "took over the lock of a run that did not end properly" in out
    assert "cut short while creating" in out
    state = FileBackend(program.root / ".slipway").load("demo", "dev", None)
    assert state.pending == []
