"""What may stand in a stack file, held against what the CLI's reader makes of it; and how the file is written back."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from infra.engine.errors import ProjectError
from infra.engine.project import yaml_file, yaml_scalars
from infra.engine.project.project import Project, StackFile
from infra.engine.state import go_json

FACTS: dict[str, tuple[str, str | None]] = {
    word: tuple(fact)
    for word, fact in json.loads((Path(__file__).parent / "data" / "yaml-v3.json").read_text())["words"].items()
}
"""By word as it stands after `key: `, what yaml.v3 takes it for and the text that the program gets."""
PLAIN = [word for word in FACTS if word[:1] not in "!'\"|>" or word == ""]


def read(project: Project, content: str | bytes) -> StackFile:
    path = project.stack_file("test")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return StackFile.load(project, "test")


def refusal(project: Project, content: str | bytes) -> str:
    with pytest.raises(ProjectError) as caught:
        read(project, content).config()
    return str(caught.value)


@pytest.mark.parametrize("word", [word for word in PLAIN if FACTS[word][0] != "error"])
def test_a_word_is_known_for_what_the_cli_takes_it_for(word: str) -> None:
    assert yaml_scalars.kind(word) == FACTS[word][0]


@pytest.mark.parametrize("word", FACTS)
def test_a_word_is_what_the_cli_reads_or_refused(project: Project, word: str) -> None:
    """`012` was 12 for us and 10 for the CLI, `1e400` text for the CLI and a crash for us."""
    kind, text = FACTS[word]
    indented = word.replace("\n", "\n  ")
    try:
        told, value = "", read(project, f"config:\n  demo:a: {indented}\n").config()["demo:a"]
    except ProjectError as error:
        told, value = str(error), None
    if told:
        assert "Pulumi.test.yaml:2:" in told
    else:
        assert kind != "error"
        assert go_json.config_text(value) == text


@pytest.mark.parametrize(
    "word",
    [
        "012",
        "0042",
        "-012",
        "08",
        "0o12",
        "0x1f",
        "0b1",
        "1_000",
        "+1",
        "-0",
        "1e3",
        "1.10",
        "8.20",
        "0.50",
        ".5",
        "1.",
        "6063e25",
        ".inf",
        "-.Inf",
        ".nan",
        "1e400",
        "18446744073709551616",
        "2026-01-02",
        "2026-01-02T03:04:05Z",
    ],
)
def test_a_number_that_would_not_stay_as_it_was_typed_is_refused(project: Project, word: str) -> None:
    told = refusal(project, f"config:\n  demo:a:\n    - b: {word}\n")
    assert told.startswith(f"Pulumi.test.yaml:3:10: demo:a[0].b: {word} ")
    assert f'write it in quotes, "{word}"' in told
    assert read(project, f'config:\n  demo:a: "{word}"\n').config()["demo:a"] == word


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *[("12", 12), ("-3", -3), ("0", 0), ("0.5", 0.5), ("8.2", 8.2), ("true", True), ("False", False), ("~", None)],
        *[(word, word) for word in ("yes", "on", "y", "1:30", "15m", "1.2.3", "0o8", "0x1p4")],
        *[("!!str 012", "012"), ("&x true", True), ("&x 5", 5), ("&x b", "b")],
    ],
)
def test_what_means_one_thing_is_taken(project: Project, word: str, value: Any) -> None:
    """A boolean with an anchor came out as 1."""
    found = read(project, f"config:\n  demo:a: {word}\n").config()["demo:a"]
    assert (found, type(found)) == (value, type(value))


def test_every_odd_word_is_told_at_once_and_secrets_are_not_shown(project: Project) -> None:
    told = refusal(project, "config:\n  demo:a: 012\n  demo:secrets: {key: 1e5}\n  demo:b: {012: x, yes: 1, true: 2}\n")
    assert [line.split(": ")[0:2] for line in told.splitlines()] == [
        ["Pulumi.test.yaml:2:11", "demo:a"],
        ["Pulumi.test.yaml:3:23", "demo:secrets.key"],
        ["Pulumi.test.yaml:4:12", "demo:b.012"],
        ["Pulumi.test.yaml:4:28", "demo:b.true"],
    ]
    assert "1e5" not in told


LAUGHS = "config:\n  demo:a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"  demo:a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("config:\n  demo:a: !tag x\n", r"Pulumi.test.yaml:2:11: the tag !tag has no place here"),
        ("config:\n  demo:a: !!int '3'\n", r":2:11: the tag !!int has no place here"),
        ("config:\n  demo:a: !!set {b}\n", r":2:11: the tag !!set has no place here"),
        ("config:\n  demo:a: !!binary aGk=\n", r":2:11: the tag !!binary has no place here"),
        ("config:\n  demo:a: {[b]: c}\n", r":2:12: a key must be a name"),
        ("config:\n  demo:a: &a [*a]\n", r":2:11: an alias stands inside what it stands for"),
        (LAUGHS, r"more than 20000 values, with the aliases written out"),
        ("config:\n  demo:a: " + "[" * 60 + "]" * 60, r"more than 50 levels"),
        ("config:\n  demo:a: " + "[" * 9000, r"levels of maps and lists|not valid YAML"),
        ("config:\n\tdemo:a: 1\n", r":2:1: not valid YAML: .*'\\t'"),
        ("config:\n  demo:a: 1\n  demo:a: 2\n", r":3:3: not valid YAML: found duplicate key \"demo:a\""),
        ("config: {}\n---\nconfig: {}\n", r":2:1: not valid YAML: but found another document"),
        ("config:\n  demo:a: *b\n", r":2:11: not valid YAML: found undefined alias"),
        (b"config:\n  demo:a: \xe9\n", r"Pulumi.test.yaml:2: not UTF-8"),
        ("config:\n".encode("utf-16"), r"Pulumi.test.yaml:1: not UTF-8"),
        ("config: \x07\n", r"not valid YAML"),
        ("#" * 1024**2 + "\n", r"larger than 1 MiB"),
        ("7\n", r"must be a map"),
    ],
)
def test_what_cannot_be_read_is_one_clear_message(project: Project, content: str | bytes, told: str) -> None:
    """A tag, `.nan` and `1e400` were called a bug of slipway; nested aliases took a minute and all memory."""
    path = project.stack_file("test")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ProjectError, match=told) as caught:
        StackFile.load(project, "test").config()
    assert "\n" not in str(caught.value)


def test_an_empty_file_a_folder_and_one_that_may_not_be_read(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "demo:a" not in read(project, "").config()
    project.stack_file("folder").mkdir()
    assert "folder" not in project.stacks()
    with pytest.raises(ProjectError, match="there is no stack 'folder'"):
        StackFile.load(project, "folder")

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ProjectError, match=r"cannot read .*Permission denied"):
        StackFile.load(project, "test")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_line_ends_and_byte_order_mark_stay(project: Project, end: bytes, mark: bytes) -> None:
    """Files from Windows came back with both kinds of line ends."""
    lines = [b"# about this", b"config:", b"  demo:a: 'x' # why", b"", b"  # a list", b"  demo:b:", b"    - 1", b""]
    content = mark + end.join(lines)
    file = read(project, content)
    file.data["config"]["demo:b"].append(2)
    file.save()
    assert file.path.read_bytes() == content + b"    - 2" + end


def test_anchors_and_merges_stay(project: Project) -> None:
    text = "config:\n  demo:a: &a\n    x: 1\n  demo:b:\n    <<: *a # as a\n    y: 2\n  demo:c: *a\n"
    file = read(project, text)
    again = file.as_read()
    again.data["config"]["demo:b"]["y"] = 3
    again.save()
    assert file.path.read_text() == text.replace("y: 2", "y: 3")


UNUSUAL = """\
--- # the stack
config:
    demo:a:   'one'      # a
    demo:b: [ 1,2 ]
    demo:list:
    - x
    -   y   # why

    demo:c: >-
        folded
        text
    demo:last: 1
    # the end
"""


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [("demo:last", 2, ("demo:last: 1", "demo:last: 2")), ("demo:a", "two", ("demo:a:   'one'     ", "demo:a: two"))],
)
def test_a_file_of_a_form_of_its_own_keeps_it(project: Project, key: str, value: Any, line: tuple[str, str]) -> None:
    """A change of one value moved lists, joined folded lines and took the document's mark away."""
    file = read(project, UNUSUAL)
    file.data["config"][key] = value
    file.save()
    text = file.path.read_text()
    assert StackFile.load(project, "test").config()[key] == value
    kept = [kept for kept in UNUSUAL.splitlines() if line[0] not in kept]
    assert [now for now in text.splitlines() if now in kept] == kept


@pytest.mark.parametrize(
    ("text", "before", "after", "patched"),
    [
        ("a:  1\nb: 2\n", "a: 1\nb: 2\n", "a: 1\nb: 3\n", "a:  1\nb: 3\n"),
        ("a:  1\nb: 2", "a: 1\nb: 2\n", "a: 1\nb: 2\nc: 3\n", "a:  1\nb: 2\nc: 3\n"),
        ("---\na: 1\n", "a: 1\n", "c: 0\na: 1\n", "---\nc: 0\na: 1\n"),
        ("a: [1,\n  2]\n", "a: [1, 2]\n", "a: [1, 3]\n", None),
        ("a:  1\nb: 2\n", "a: 1\nb: 2\n", "b: 2\n", "b: 2\n"),
    ],
)
def test_only_changed_lines_are_put_in(text: str, before: str, after: str, patched: str | None) -> None:
    assert yaml_file.patch(text, before, after) == patched


def test_of_two_writers_neither_loses_the_others_change(project: Project) -> None:
    """Both wrote the file that they had read with their one change: the first one's was gone."""
    one = read(project, "config:\n  demo:a: 1\n  demo:b: 1\n")
    other = StackFile.load(project, "test")
    one.data["config"]["demo:a"] = 2
    other.data["config"]["demo:b"] = 2
    one.save()
    with pytest.raises(ProjectError, match="changed by somebody else in the meantime"):
        other.save()
    assert StackFile.load(project, "test").config()["demo:a"] == 2
    one.data["config"]["demo:a"] = 3
    one.save()


def test_of_many_writers_at_once_each_is_there_or_told(project: Project) -> None:
    read(project, "config: {}\n")
    start, told = threading.Barrier(8), []

    def write(number: int) -> None:
        file = StackFile.load(project, "test")
        file.data["config"][f"demo:n{number}"] = number
        start.wait()
        try:
            file.save()
        except ProjectError:
            told.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    there = {key for key in StackFile.load(project, "test").config() if key.startswith("demo:n")}
    assert len(there) == 1
    assert there | {f"demo:n{number}" for number in told} == {f"demo:n{number}" for number in range(8)}
    assert list(project.root.glob(".Pulumi*")) == []


def test_a_removed_file_is_not_made_again(project: Project) -> None:
    file = read(project, "config: {}\n")
    file.path.unlink()
    with pytest.raises(ProjectError, match="changed by somebody else"):
        file.save()
    assert not file.path.exists()


def test_a_link_stays_a_link_and_the_mode_stays(project: Project) -> None:
    """A link was replaced by a file, and a strict umask took from others what they could read."""
    real = project.root / "elsewhere.yaml"
    real.write_text("config:\n  demo:a: 1\n")
    real.chmod(0o664)
    project.stack_file("test").symlink_to("elsewhere.yaml")
    file = StackFile.load(project, "test")
    file.data["config"]["demo:a"] = 2
    before = os.umask(0o077)
    try:
        file.save()
    finally:
        os.umask(before)
    assert project.stack_file("test").is_symlink()
    assert real.read_text() == "config:\n  demo:a: 2\n"
    assert real.stat().st_mode & 0o777 == 0o664


@pytest.mark.parametrize(
    "text", ["1.10", "6063e25", "0042", "2026-01-02", "true", "null", "", "~", "1_0", "0b1", "yes"]
)
@pytest.mark.parametrize("around", ["", " ", "\n"])
def test_a_quoted_text_reads_back_as_itself(project: Project, text: str, around: str) -> None:
    text = f"{around}{text}{around}"
    file = read(project, "config: {}\n")
    file.data["config"]["demo:a"] = yaml_file.quoted(text)
    file.save()
    assert StackFile.load(project, "test").config()["demo:a"] == text
