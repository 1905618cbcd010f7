"""What is typed is what holds: texts that look like numbers, and files that a change would have bent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Slipway = Callable[..., Any]


def content(root: Path) -> bytes:
    return (root / "Pulumi.local.yaml").read_bytes()


def write(root: Path, config: str = "") -> bytes:
    aws = "target: aws", "region: eu-central-1", "domain: {name: api.example.com}"
    file = root / "Pulumi.local.yaml"
    file.write_text("config:\n" + "".join(f"  slipway:{line}\n" for line in aws) + config)
    return file.read_bytes()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image.version", "6063e25"),
        ("image.version", "1.10"),
        ("image.version", "0042"),
        ("image.version", "2026-01-02"),
        ("image.version", "1234567"),
        ("image.version", "null"),
        ("redis.version", "8.2"),
        ("tags.build", "0x1f"),
        ("tags.centre", "4711"),
        ("account", "012345670123"),
    ],
)
def test_a_text_stays_as_it_was_typed(slipway: Slipway, root: Path, key: str, value: str) -> None:
    """Commit 6063e25 ran as version 6.063e+28, a version 8.20 as 8.2."""
    write(root)
    answer = slipway("config", "set", key, value)
    assert answer.code == 0, answer.err
    assert f'"{value}"' in content(root).decode()
    assert slipway("config", "get", key).out == f"{value}\n"
    found = yaml.safe_load(content(root))["config"]
    first, _, rest = key.partition(".")
    assert (found[f"slipway:{first}"] if not rest else next(iter(found[f"slipway:{first}"].values()))) == value


def test_a_version_is_not_taken_for_another(slipway: Slipway, root: Path) -> None:
    before = write(root)
    answer = slipway("config", "set", "redis.version", "8.20")
    assert "redis.version = 8.20\n    is not offered by provider aws" in answer.err
    assert content(root) == before


def test_a_plain_text_gets_no_quotes_and_a_date_does(slipway: Slipway, root: Path) -> None:
    assert slipway("config", "set", "worker.job_timeout", "90s").code == 0
    assert b"job_timeout: 90s\n" in content(root)
    permit = "{resource: postgres, action: delete, until: '2099-11-24', reason: because it must go}"
    assert slipway("config", "set", "permits[0]", permit).code == 0
    answer = slipway("config", "set", "permits[0].until", "2099-11-25")
    assert answer.code == 0, answer.err
    assert slipway("config", "get", "permits[0].until").out == "2099-11-25\n"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("api.port", "012"),
        ("api.replicas", "0x2"),
        ("api.replicas", "+2"),
        ("api.replicas", "1e0"),
        ("worker.cpu", "0.50"),
        ("api.port", "3_000"),
        ("api.replicas", ".nan"),
        ("worker.cpu", "1e400"),
        ("image", "{version: 6063e25}"),
        ("permits", "[{until: 2026-01-02}]"),
    ],
)
def test_a_number_that_can_be_read_in_two_ways_is_refused(slipway: Slipway, root: Path, key: str, value: str) -> None:
    """Port 012 was 12 for slipway and 10 for the Pulumi CLI."""
    before = content(root)
    answer = slipway("config", "set", key, value)
    assert answer.code == 1
    assert answer.err.startswith(f"error: Pulumi.local.yaml was not changed: slipway:{key}: ")
    assert "for a text write it in quotes" in answer.err
    assert len(answer.err.splitlines()) == 1
    assert content(root) == before


def test_a_provider_gets_the_text_and_numbers_are_numbers(slipway: Slipway, root: Path) -> None:
    write(root)
    assert slipway("config", "set", "aws:token", "0042").code == 0
    assert slipway("config", "set", "worker.cpu", "0.5").code == 0
    assert slipway("config", "set", "worker.memory", "2 GiB").code == 0
    found = yaml.safe_load(content(root))["config"]
    assert found["aws:token"] == "0042"
    assert found["slipway:worker"] == {"cpu": 0.5, "memory": "2 GiB"}


@pytest.mark.parametrize(
    "line", ["api: {port: 012}", "image: {version: 1.10}", "redis: {version: 8.20}", "tags: {a: !x b}"]
)
def test_a_file_that_does_not_mean_what_it_says_is_one_message(slipway: Slipway, root: Path, line: str) -> None:
    before = write(root, f"  slipway:{line}\n")
    for command in (("plan",), ("config", "get"), ("config", "set", "api.replicas", "3"), ("config", "rm", "target")):
        answer = slipway(*command)
        assert (answer.code, answer.out) == (1, "")
        assert answer.err.startswith("error: ")
        assert "Pulumi.local.yaml:5:" in answer.err
        assert "bug" not in answer.err
    assert content(root) == before


SHARED = """\
  slipway:worker:
    groups:
      bulk: &bulk # both alike
        replicas: 1
        concurrency: 4
      slow: *bulk
      more:
        <<: *bulk
        concurrency: 5
"""


@pytest.mark.parametrize(
    "command",
    [
        ("set", "worker.groups.slow.replicas", "3"),
        ("set", "worker.groups.bulk.replicas", "3"),
        ("rm", "worker.groups.slow.replicas"),
        ("rm", "worker.groups.more.replicas"),
    ],
)
def test_a_change_that_an_alias_would_carry_elsewhere_is_refused(
    slipway: Slipway, root: Path, command: tuple[str, ...]
) -> None:
    """The number of one worker group became the other's too."""
    before = write(root, SHARED)
    answer = slipway("config", *command)
    assert answer.code == 1
    assert "was not changed" in answer.err
    assert "alias" in answer.err
    assert content(root) == before


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [
        (("set", "worker.groups.more.concurrency", "6"), "concurrency: 5", "concurrency: 6"),
        (("set", "worker.groups.more.replicas", "2"), "concurrency: 5", "concurrency: 5\n        replicas: 2"),
        (("rm", "worker.groups.slow"), "      slow: *bulk\n", ""),
        (("set", "api.replicas", "3"), "concurrency: 5\n", "concurrency: 5\n  slipway:api:\n    replicas: 3\n"),
    ],
)
def test_anchors_aliases_and_merges_stay_where_nothing_else_changes(
    slipway: Slipway, root: Path, command: tuple[str, ...], old: str, new: str
) -> None:
    """Merges were written out: the groups no longer followed the one that they started from."""
    before = write(root, SHARED).decode()
    answer = slipway("config", *command)
    assert answer.code == 0, answer.err
    assert content(root).decode() == before.replace(old, new)


def test_line_ends_stay(slipway: Slipway, root: Path) -> None:
    before = content(root).replace(b"\n", b"\r\n")
    (root / "Pulumi.local.yaml").write_bytes(before)
    assert slipway("config", "set", "api.replicas", "3").code == 0
    assert content(root) == before.replace(b"replicas: 2", b"replicas: 3")
    assert slipway("config", "set", "tags.owner", stdin="platform\r\n").code == 0
    assert slipway("config", "get", "tags.owner").out == "platform\n"
    assert content(root).count(b"\n") == content(root).count(b"\r\n")
