from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from infra.cli import reference
from infra.cli.console import Console
from infra.cli.exits import OutputError
from infra.cli.parser import COMMANDS, EXIT_CODES, build_parser

Slipway = Callable[..., Any]


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def test_help_lists_every_command_and_exit_code(slipway: Slipway) -> None:
    answer = slipway("--help")
    assert answer.code == 0
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        assert re.search(rf"^    {name}( |$)", answer.out, re.MULTILINE)
    for code, meaning in EXIT_CODES:
        assert re.search(rf"{code} +{re.escape(meaning)}", answer.out)


def test_help_and_parser_load_nothing_heavy() -> None:
    heavy = ("pulumi", "pydantic", "rich", "ruamel", "cryptography", "yaml", "infra.engine", "infra.settings")
    code = f"import sys, infra.cli.parser as p; p.build_parser(); print([m for m in {heavy!r} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.strip() == "[]"


def test_what_a_terminal_cannot_show_does_not_end_the_command(root: Path) -> None:
    (root / "Pulumi.local.yaml").write_text("config:\n  slipway:target: local\n  slipway:tags: {owner: Zoë}\n")
    answer = run("config", "get", "tags.owner", cwd=root, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (answer.returncode, answer.stdout) == (0, "Zo?\n"), answer.stderr


def test_grpc_does_not_write_into_the_report(slipway: Slipway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line such as "chttp2_transport.cc: Got goaway" came now and then between a rotation's lines."""
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    slipway("stacks")
    assert os.environ.pop("GRPC_VERBOSITY") == "ERROR"
    # It is read when gRPC is loaded, so nothing may load that before.
    code = "import sys, infra.cli; print('grpc' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.strip() == "False"


def test_module_and_version() -> None:
    answer = run("--version")
    assert answer.returncode == 0
    assert re.fullmatch(r"slipway \S+\n", answer.stdout)


def test_the_reference_page_is_current() -> None:
    assert reference.PAGE.read_text() == reference.page(), "run: python -m infra.cli.reference"


def test_every_argument_has_a_help_text() -> None:
    for names, command in reference._commands(build_parser(), ()):
        for action in command._actions:
            assert action.help, (names, action)


@pytest.mark.parametrize("arguments", [(), ("fly",), ("config",), ("logs", "--tail", "-1"), ("logs", "--tail", "x")])
def test_wrong_usage_exits_2(slipway: Slipway, arguments: tuple[str, ...]) -> None:
    answer = slipway(*arguments)
    assert answer.code == 2
    assert "usage: slipway" in answer.err


def test_an_unknown_stack_is_one_message(slipway: Slipway) -> None:
    answer = slipway("outputs", "--stack", "lokal")
    assert answer.code == 1
    assert answer.out == ""
    assert answer.err.startswith("error: there is no stack 'lokal'")
    assert "Did you mean 'local'?" in answer.err
    assert "Traceback" not in answer.err


def test_verbose_adds_the_traceback(slipway: Slipway) -> None:
    assert "Traceback" in slipway("outputs", "--stack", "lokal", "-v").err


def test_the_stack_comes_from_option_environment_default(
    slipway: Slipway, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "stack 'local' has no outputs" in slipway("outputs").err
    monkeypatch.setenv("SLIPWAY_STACK", "other")
    assert "no stack 'other'" in slipway("outputs").err
    assert "no stack 'third'" in slipway("outputs", "--stack", "third").err


def test_outside_a_project(slipway: Slipway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert slipway("stacks").err == f"error: no Pulumi.yaml in {tmp_path} or above it: run this inside the project\n"


def test_a_bug_says_so_and_keeps_the_traceback(slipway: Slipway, fake_module: Callable[..., None]) -> None:
    def collect(_: Path) -> None:
        raise ZeroDivisionError("inside")

    fake_module("infra.local.status", collect=collect)
    answer = slipway("status")
    assert answer.code == 1
    assert "error: ZeroDivisionError: inside" in answer.err
    (file,) = re.findall(r"This is a bug in slipway\..* (/\S+\.txt)\.", answer.err)
    assert "raise ZeroDivisionError" in Path(file).read_text()
    Path(file).unlink()


def test_ctrl_c_is_130(slipway: Slipway, fake_module: Callable[..., None]) -> None:
    def collect(_: Path) -> None:
        raise KeyboardInterrupt

    fake_module("infra.local.status", collect=collect)
    answer = slipway("status")
    assert (answer.code, answer.err) == (130, "interrupted\n")


def test_a_closed_pipe_is_quiet(root: Path, state: Callable[..., None]) -> None:
    state(**{f"output{number:05}": "x" * 100 for number in range(3000)})
    program = f"{sys.executable} -m infra.cli outputs | head -1"
    answer = subprocess.run(
        program, shell=True, capture_output=True, text=True, timeout=60, check=False, cwd=root, env=dict(os.environ)
    )
    assert answer.stdout.startswith("OUTPUT")
    assert answer.stderr == ""


def shell(command: str, root: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    script = f"set -o pipefail; {command.replace('slipway', f'{sys.executable} -m infra.cli', 1)}"
    return subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=root,
        # Unbuffered, the parser would swallow an error while it prints its help.
        env={name: text for name, text in {**os.environ, **environ}.items() if name != "PYTHONUNBUFFERED"},
    )


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ("slipway outputs | true", 141, ""),
        ("slipway --help | true", 141, ""),
        ("slipway outputs > /dev/full", 1, "error: cannot write to standard output: No space left on device."),
        ("slipway --help > /dev/full", 1, "error: cannot write to standard output: No space left on device."),
        ("slipway outputs >&-", 0, ""),
        ("slipway outputs 2>&- >&- <&-", 0, ""),
        ("slipway outputs --stack nosuch 2> /dev/full", 1, ""),
        ("slipway outputs --stack nosuch 2>&-", 1, ""),
        ("slipway config set tags.a <&-", 2, "error: there is no value"),
        ("slipway config set --secret secrets.openai_api_key <&-", 2, "error: the secret is empty"),
        ("slipway config set tags.a < /dev/null", 2, "error: there is no value"),
        ("slipway config set tags.a $'\\xff'", 2, "error: the value of tags.a is not text"),
        ("slipway config set tags.a <<< $'\\xff'", 2, "error: "),
        ("slipway destroy <&-", 2, "error: nobody to ask"),
        ("slipway outputs --stack ''", 2, "error: --stack has no name"),
        ("slipway outputs --stack ' '", 1, "error: ' ' cannot be a stack name"),
        ("slipway outputs --stack ..", 1, "error: '..' cannot be a stack name"),
        ("slipway outputs --stack $'a\\nb'", 1, "error: 'a\\nb' cannot be a stack name"),
    ],
)
def test_odd_surroundings_are_one_line_or_none(
    root: Path, state: Callable[..., None], command: str, code: int, told: str
) -> None:
    """A closed or full output was called a bug of slipway, and an empty `--stack` meant the local one."""
    state(**{f"output{number:05}": "x" * 100 for number in range(3000)})
    before = (root / "Pulumi.local.yaml").read_bytes()
    answer = shell(command, root)
    assert (answer.returncode, answer.stderr[: len(told)]) == (code, told)
    assert len(answer.stderr.splitlines()) == bool(told)
    assert (root / "Pulumi.local.yaml").read_bytes() == before


def test_an_empty_stack_in_the_environment_is_refused(slipway: Slipway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_STACK", "")
    answer = slipway("outputs")
    assert (answer.code, answer.err) == (
        2,
        "error: SLIPWAY_STACK is empty: set it to a stack's name, or unset it for the stack local\n",
    )
    assert slipway("outputs", "--stack", "local").code == 0


def test_a_question_is_answered_no_by_a_closed_input_and_a_full_disk_is_told() -> None:
    console = Console(out=io.StringIO(), err=io.StringIO(), input=io.StringIO(""))
    assert not console.confirm("Sure?")
    with Path("/dev/full").open("w") as full:
        console = Console(out=full, err=full)
        with pytest.raises(OutputError):
            console.confirm("Sure?")
        console.note("nobody reads this")
        with suppress(OSError):
            full.close()


def test_without_a_home_and_in_the_c_locale(root: Path, state: Callable[..., None]) -> None:
    state(name="é")
    answer = shell("env -u HOME slipway outputs name", root, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "?\n", "")
