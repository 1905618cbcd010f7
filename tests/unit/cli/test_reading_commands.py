"""status, logs, doctor, outputs, stacks: what they print, and their exit codes."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.cli.commands import doctor
from infra.cli.commands.status import age, rows
from infra.cli.console import Console, plain_table
from infra.cli.hints import command_name, next_steps
from infra.engine.values import Secret

Slipway = Callable[..., Any]
NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


@dataclass
class Replica:
    pid: int | None = 100
    state: str = "healthy"
    since: datetime | float | None = NOW - timedelta(minutes=5)
    restarts: int = 0
    url: str | None = None
    reason: str = ""


@dataclass
class Service:
    name: str
    state: str = "healthy"
    replicas: list[Replica] = field(default_factory=lambda: [Replica()])
    url: str | None = None
    port: int | None = None
    log: Path = Path("/project/.slipway/local/logs/x.log")
    kind: str = "service"


@dataclass
class Finding:
    level: str
    title: str
    detail: str = ""
    remedy: str = ""


def test_status_rows() -> None:
    services = [
        Service("postgres", port=5433),
        Service("api", "degraded", [Replica(), Replica(None, "failed", None, 7)], url="http://127.0.0.1:3000"),
        Service("worker", "stopped", []),
    ]
    table = rows(services, now=NOW, root=Path("/project"))
    log = ".slipway/local/logs/x.log"
    assert table == [
        ("postgres", "healthy", "1/1", "5m", "0", "port 5433", log),
        ("api", "degraded", "1/2", "", "7", "http://127.0.0.1:3000", log),
        ("  1", "healthy", "pid 100", "5m", "0", "", ""),
        ("  2", "failed", "", "", "7", "", ""),
        ("worker", "stopped", "", "", "", "", log),
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "now"), (59, "59s"), (3600, "1h"), (90_061, "1d 1h"), (3725, "1h 2m"), (-5, "now")]
)
def test_ages(seconds: int, shown: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), now=NOW) == shown
    assert age(NOW.timestamp() - seconds, now=NOW) == shown


def test_status(slipway: Slipway, root: Path, fake_module: Callable[..., None]) -> None:
    asked: list[Path] = []
    services = [Service("api", url="http://127.0.0.1:3000")]
    fake_module("infra.local.status", collect=lambda folder: asked.append(folder) or services)
    answer = slipway("status")
    assert answer.code == 0
    assert asked == [root / ".slipway" / "local"]
    assert answer.out.splitlines()[0].split() == ["SERVICE", "STATE", "REPLICAS", "SINCE", "RESTARTS", "ADDRESS", "LOG"]
    assert "http://127.0.0.1:3000" in answer.out
    services[0].state = "degraded"
    services[0].replicas[0].reason = "answers 503"
    answer = slipway("status")
    assert answer.code == 1
    assert "api 1: answers 503" in answer.out


def test_status_of_what_is_not_up(slipway: Slipway, fake_module: Callable[..., None]) -> None:
    fake_module("infra.local.status", collect=lambda _: [])
    answer = slipway("status")
    assert (answer.code, answer.out) == (0, "")
    assert "start it with `slipway up`" in answer.err


@pytest.mark.parametrize("command", ["status", "logs", "doctor"])
def test_commands_about_processes_refuse_other_targets(slipway: Slipway, root: Path, command: str) -> None:
    (root / "Pulumi.prod.yaml").write_text("config:\n  slipway:target: aws\n")
    answer = slipway(command, "--stack", "prod")
    assert answer.code == 1
    assert "stack 'prod' runs on aws: use the ECS console" in answer.err


def test_logs(slipway: Slipway, root: Path, fake_module: Callable[..., None]) -> None:
    asked: list[tuple[Any, ...]] = []

    def follow(*arguments: Any) -> Iterator[str]:
        asked.append(arguments)
        yield "one\n"
        yield "two"
        if arguments[3]:
            raise KeyboardInterrupt

    fake_module("infra.local.logs", follow=follow)
    answer = slipway("logs", "api", "--tail", "5")
    assert (answer.code, answer.out) == (0, "one\ntwo\n")
    answer = slipway("logs", "-f")
    assert (answer.code, answer.err) == (0, "")
    folder = root / ".slipway" / "local"
    assert asked == [(folder, "api", 5, False), (folder, None, 100, True)]


def test_doctor(slipway: Slipway, root: Path, fake_module: Callable[..., None]) -> None:
    asked: list[Any] = []
    findings = [Finding("ok", "python 3.11"), Finding("warning", "disk is nearly full", "2 GB left", "free some")]
    fake_module("infra.local.doctor", Finding=Finding, check=lambda *arguments: asked.append(arguments) or findings)
    answer = slipway("doctor")
    assert answer.code == 0
    assert answer.out == ("warning: disk is nearly full\n  2 GB left\n  -> free some\n3 checks, 1 with a finding\n")
    folder, settings = asked[0]
    assert folder == root / ".slipway" / "local"
    assert settings.api.replicas == 2
    findings[0].level = "error"
    assert slipway("doctor").code == 1
    assert doctor.render([Finding("ok", "a")]) == "1 checks, all in order"
    assert doctor.render([Finding("ok", "a")], verbose=True).startswith("ok: a\n")


def test_doctor_reads_the_state(slipway: Slipway, root: Path, fake_module: Callable[..., None]) -> None:
    fake_module("infra.local.doctor", Finding=Finding, check=lambda *_: [])
    state = root / ".slipway/.pulumi/stacks/slipway/local.json"
    state.parent.mkdir(parents=True)
    state.write_text("{ half a fi")
    answer = slipway("doctor")
    assert answer.code == 1
    assert answer.out.startswith("error: the state cannot be read\n")
    assert str(state) in answer.out


def test_doctor_tells_of_bad_settings(slipway: Slipway, root: Path) -> None:
    file = root / "Pulumi.local.yaml"
    file.write_text(file.read_text().replace("replicas: 2", "replicas: none"))
    answer = slipway("doctor")
    assert answer.code == 1
    assert "api.replicas" in answer.err


def test_outputs(slipway: Slipway, state: Callable[..., None]) -> None:
    state(url="http://127.0.0.1:3000", count=2.0, nested={"a": [Secret("s"), 1]}, token=Secret("swordfish"))
    assert slipway("outputs").out == (
        'OUTPUT  VALUE\ncount   2\nnested  {"a": ["[secret]", 1]}\ntoken   [secret]\nurl     http://127.0.0.1:3000\n'
    )
    assert json.loads(slipway("outputs", "--json").out)["token"] == "[secret]"
    shown = json.loads(slipway("outputs", "--json", "--show-secrets").out)
    assert shown == {"url": "http://127.0.0.1:3000", "count": 2, "nested": {"a": ["s", 1]}, "token": "swordfish"}
    assert slipway("outputs", "url").out == "http://127.0.0.1:3000\n"
    assert slipway("outputs", "nested", "--json").out == '{"a": ["[secret]", 1]}\n'
    answer = slipway("outputs", "uri")
    assert answer.code == 1
    assert "Outputs there are: count, nested, token, url" in answer.err


def test_outputs_need_no_passphrase(
    slipway: Slipway, state: Callable[..., None], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state(token=Secret("swordfish"))
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", "/nowhere")
    assert "[secret]" in slipway("outputs").out
    assert "cannot read PULUMI_CONFIG_PASSPHRASE_FILE" in slipway("outputs", "--show-secrets").err


def test_a_damaged_state_is_one_message(slipway: Slipway, state: Callable[..., None], root: Path) -> None:
    state(a=1)
    (root / ".slipway/.pulumi/stacks/slipway/local.json").write_text('{"version"')
    answer = slipway("outputs")
    assert answer.code == 1
    assert "cannot use the state file" in answer.err
    assert "Traceback" not in answer.err


def test_stacks(slipway: Slipway, state: Callable[..., None], root: Path) -> None:
    state()
    (root / "Pulumi.prod.yaml").write_text("config:\n  slipway:target: aws\n")
    (root / "Pulumi.broken.yaml").write_text("config: [")
    lines = [line.split(maxsplit=2) for line in slipway("stacks").out.splitlines()]
    assert lines == [
        ["STACK", "TARGET", "RESOURCES"],
        ["broken", "unreadable", "none yet"],
        ["local", "local", "1"],
        ["prod", "aws", "none yet"],
    ]


LOCAL = {
    "url": "http://127.0.0.1:3000/",
    "docs_url": "http://127.0.0.1:3000/docs",
    "notices": ["private networks are allowed"],
}


def test_the_first_update_tells_what_to_try() -> None:
    text = next_steps(stack="local", target="local", outputs=LOCAL, first=True)
    assert text.startswith(
        "\nThe API is at http://127.0.0.1:3000\nIts documentation is at http://127.0.0.1:3000/docs\n"
        "Note: private networks are allowed\n"
    )
    for path in ("/v1/auth/register", "/v1/auth/login", "/v1/deliveries"):
        assert f"http://127.0.0.1:3000{path}" in text
    assert "slipway status" in text


def test_what_to_try_is_good_shell() -> None:
    text = next_steps(stack="local", target="local", outputs=LOCAL, first=True)
    commands = "\n".join(line for line in text.splitlines() if line.startswith("  "))
    subprocess.run(["sh", "-n"], input=commands, text=True, check=True, timeout=10)
    bodies = re.findall(r"-d '([^']+)'", commands)
    assert [sorted(json.loads(body)) for body in bodies] == [["email", "password"]] * 2 + [["payload", "url"]]
    receiver = re.search(r'python3 -c "(.+)" &', commands)
    assert receiver
    compile(receiver[1], "receiver", "exec")


def test_what_to_try_can_be_pasted_where_the_command_is_not_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh clone has it in .venv/bin alone, and `slipway status` was "command not found" for every newcomer."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command_name(".venv/bin/slipway") == ".venv/bin/slipway"
    assert command_name("/usr/lib/python3/infra/cli/__main__.py") == "slipway"
    (tmp_path / "slipway").touch(mode=0o755)
    assert command_name(".venv/bin/slipway") == "slipway"
    text = next_steps(stack="local", target="local", outputs=LOCAL, first=True, command=".venv/bin/slipway")
    assert "\n  .venv/bin/slipway status\n  .venv/bin/slipway logs -f" in text


def test_later_updates_other_targets_and_a_missing_url() -> None:
    text = next_steps(stack="local", target="local", outputs=LOCAL, first=False)
    assert text.splitlines()[1:] == [
        "The API is at http://127.0.0.1:3000",
        "Its documentation is at http://127.0.0.1:3000/docs",
    ]
    text = next_steps(stack="prod", target="aws", outputs={"url": "https://api.example.com"}, first=True)
    assert text == "\nThe API is at https://api.example.com"
    assert next_steps(stack="x", target="local", outputs={}, first=True) == ""
    assert next_steps(stack="x", target="local", outputs={"url": "[secret]"}, first=True) == ""


def test_tables_are_plain_off_a_terminal() -> None:
    assert plain_table(("A", "BB"), [["xxx", ""], ["", "y"]]) == "A    BB\nxxx\n     y"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_tables_are_drawn_on_a_terminal_unless_told_not_to() -> None:
    out = Terminal()
    Console(out=out, err=out, input=out, environ={}).table(("STATE",), [("healthy",), ("[secret]",)])
    assert "─" in out.getvalue()
    assert "[secret]" in out.getvalue(), "square brackets are no markup"
    for environ in ({"NO_COLOR": "1"}, {"CI": "true"}, {"TERM": "dumb"}):
        out = Terminal()
        Console(out=out, err=out, input=out, environ=environ).table(("STATE",), [("running",)])
        assert out.getvalue() == "STATE\nrunning\n"


@pytest.mark.parametrize(
    ("typed", "answer"), [("y\n", True), ("YES\n", True), ("\n", False), ("", False), ("n\n", False)]
)
def test_only_yes_is_yes(typed: str, answer: bool) -> None:
    out = Terminal()
    assert Console(out=out, err=out, input=Terminal(typed), environ={}).confirm("Go?") is answer
    assert out.getvalue() == "Go? [y/N] "
