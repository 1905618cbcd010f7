"""What a user reads: plain lines in CI, a tree on a terminal."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from infra.engine.display import PlainDisplay, formatting, open_display
from infra.engine.display.events import (
    Change,
    DeploymentFinished,
    DeploymentStarted,
    Diagnostic,
    Failure,
    OutputsKnown,
    StepFailed,
    StepFinished,
    StepStarted,
)
from infra.engine.display.live import LiveDisplay

STACK = "urn:pulumi:dev::proj::pulumi:pulumi:Stack::proj-dev"
API = "urn:pulumi:dev::proj::local:index:Api::api"
PASSWORD = "urn:pulumi:dev::proj::random:index/randomPassword:RandomPassword::pw"

CHANGES = (
    Change(path="replicas", kind="update", old=1, new=2),
    Change(path="env.TOKEN", kind="update", old="[secret]", new="[secret]", forces_replacement=True),
    Change(path="__provider", kind="update", old="[secret]", new="[secret]"),
)

RUN = (
    DeploymentStarted(kind="up", project="proj", stack="dev"),
    StepFinished(urn=STACK, parent=None, op="same"),
    StepStarted(urn=API, parent=STACK, op="update", changes=CHANGES, reason="a process is gone"),
    Diagnostic(severity="info", message="rolling 1 of 2", urn=API, ephemeral=True),
    StepFinished(urn=API, parent=STACK, op="update", elapsed=75.2, changes=CHANGES, reason="a process is gone"),
    StepStarted(urn=PASSWORD, parent=STACK, op="create"),
    StepFailed(urn=PASSWORD, parent=STACK, op="create", elapsed=0.26, message="no entropy\nat all"),
    Diagnostic(severity="error", message="no entropy\nat all", urn=PASSWORD),
    Diagnostic(severity="debug", message="deep details"),
    OutputsKnown(
        outputs={"url": "http://127.0.0.1:3000", "password": "[secret]"},
        changes=(Change(path="url", kind="update", old="http://old", new="http://127.0.0.1:3000"),),
    ),
    DeploymentFinished(
        kind="up",
        succeeded=False,
        interrupted=False,
        changes={"update": 1, "same": 1},
        duration=76.4,
        failures=(Failure(message="no entropy\nat all", urn=PASSWORD),),
    ),
)


def plain(events: Any = RUN, **options: Any) -> str:
    stream = io.StringIO()
    display = PlainDisplay(stream, **options)
    for event in events:
        display.emit(event)
    return stream.getvalue()


def test_plain_lines() -> None:
    assert plain() == (
        """\
Updating (dev):
 ~  local:index:Api api updating [diff: ~replicas,~env,~code of its provider]
      (a process is gone)
      ~ replicas: 1 => 2
      ~ env.TOKEN: [secret] => [secret] (forces replacement)
      ~ code of its provider
 .  local:index:Api api rolling 1 of 2
 ~  local:index:Api api updated (1m15s)
 +  random:index:RandomPassword pw creating
 +  random:index:RandomPassword pw creating failed (0.3s): no entropy

Diagnostics:
  random:index:RandomPassword (pw):
    error: no entropy
    at all

Outputs:
    password: [secret]
  ~ url     : "http://old" => "http://127.0.0.1:3000"

Resources:
  ~  1 updated
  1 unchanged
  1 failed

Duration: 1m16s
"""
    )


def test_verbose_shows_all() -> None:
    text = plain(verbose=True)
    assert "pulumi:pulumi:Stack proj-dev unchanged" in text
    assert "debug: deep details" in text


def test_nothing_to_do_is_one_line(stack: Any) -> None:
    stack.program('Thing("a")').must_up()
    stack.up()
    text = plain(stack.log.events)
    assert "  nothing to do: 2 unchanged\n" in text
    assert "test:index:Thing" not in text


def test_a_preview_speaks_of_what_will_be(stack: Any) -> None:
    stack.program('Thing("a")').preview()
    text = plain(stack.log.events)
    assert text.startswith("Previewing update (dev):\n")
    assert " +  test:index:Thing a create\n" in text
    assert "  +  2 to create\n" in text


def test_an_interrupted_run_says_how_to_go_on() -> None:
    end = DeploymentFinished(kind="up", succeeded=False, interrupted=True, changes={"create": 1}, duration=1.0)
    assert "  interrupted: what was made is in the state, run the command again to go on\n" in plain([end])


def test_the_tree_on_a_terminal() -> None:
    stream = io.StringIO()
    with LiveDisplay(stream, width=120) as display:
        for event in RUN:
            display.emit(event)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert re.search(r"~ +└─ local:index:Api +api +updated \(1m15s\) +rolling 1 of 2", text)
    assert re.search(r"\+ +└─ random:index:RandomPassword +pw +creating failed \(0\.3s\) +no entropy", text)
    assert "~ replicas: 1 => 2" in text
    assert "Duration: 1m16s" in text
    assert stream.getvalue().rstrip().endswith("Duration: 1m16s")
    # The cursor that the display hid is back.
    assert stream.getvalue().count("\x1b[?25h") == stream.getvalue().count("\x1b[?25l")


def test_a_narrow_terminal_cuts_the_types_and_nothing_that_tells_more() -> None:
    """80 columns had "create…" under Status, for what was created and what was not."""
    stream = io.StringIO()
    long_type = f"urn:pulumi:dev::proj::{'pulumi-python:dynamic/proj:DatabaseServer'}::postgres-application-password"
    with LiveDisplay(stream, width=80) as display:
        display.emit(RUN[0])
        display.emit(StepFinished(urn=long_type, parent=STACK, op="create", elapsed=75.2))
        display.emit(RUN[-1])
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert re.search(r"pulumi-python:dyn\S*… +postgres-application-password +created \(1m15s\)", text)
    assert max(map(len, text.splitlines())) <= 80


def test_the_display_fits_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    for name in ("CI", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    with open_display(Terminal()) as display:
        assert isinstance(display, LiveDisplay)
    with open_display(io.StringIO()) as display:
        assert isinstance(display, PlainDisplay)
    monkeypatch.setenv("NO_COLOR", "1")
    with open_display(Terminal()) as display:
        assert isinstance(display, PlainDisplay)


def test_what_was_not_finished_says_so() -> None:
    stream = io.StringIO()
    with LiveDisplay(stream, width=100) as display:
        for event in (RUN[0], StepStarted(urn=API, parent=None, op="create"), RUN[-1]):
            display.emit(event)
    assert "not finished" in stream.getvalue().rpartition("Updating")[2]


def test_messages_cannot_move_the_cursor(stack: Any) -> None:
    stack.program(r'print("\x1b[2Jgone\r\x07")').must_up()
    assert stack.log.messages("info") == ["gone"]


def test_long_values_are_cut_and_outputs_are_not() -> None:
    assert list(formatting.outputs({"url": "x" * 500}, ())) == [f'    url: "{"x" * 500}"']
    assert len(formatting.value("x" * 500)) == 72
    many = tuple(Change(path=f"p{i}", kind="add", new=i) for i in range(20))
    assert list(formatting.details("update", many, ""))[-1] == "… and 8 more changes"
    assert formatting.brief(many).endswith("and 14 more]")


def test_what_a_program_prints_does_not_feed_a_display_on_the_same_stream(
    stack: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    class Printing:
        def emit(self, event: Any) -> None:
            print(type(event).__name__)

    stack.program('print("hello")')
    deployment = stack.deployment()
    deployment._sink = Printing()
    assert deployment.preview().succeeded
    assert "DeploymentFinished" in capsys.readouterr().out
