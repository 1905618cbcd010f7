from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from infra.cli import keypath
from infra.cli.exits import CommandError, UsageError
from infra.property_paths import render_path

Slipway = Callable[..., Any]


def text(root: Path, stack: str = "local") -> str:
    return (root / f"Pulumi.{stack}.yaml").read_text()


def config(root: Path) -> dict[str, Any]:
    return dict(YAML(typ="safe").load(text(root))["config"])


def test_get_prints_what_the_file_sets(slipway: Slipway) -> None:
    assert slipway("config", "get", "api.replicas").out == "2\n"
    assert slipway("config", "get", "slipway:target").out == "local\n"
    assert slipway("config", "get", "api", "--json").out == '{\n  "replicas": 2\n}\n'
    assert slipway("config", "get").out == "KEY           VALUE\ntarget        local\napi.replicas  2\n"


def test_get_of_what_is_not_set_gives_the_default(slipway: Slipway) -> None:
    answer = slipway("config", "get", "api.port")
    assert (answer.code, answer.out) == (0, "3000\n")
    assert "this is the default" in answer.err
    assert slipway("config", "get", "worker.job_timeout").out.strip()


@pytest.mark.parametrize("key", ["region", "api.prot", "aws:region", "cors_origins[3]", "secrets.openai_api_key"])
def test_get_of_what_has_no_value_fails(slipway: Slipway, key: str) -> None:
    answer = slipway("config", "get", key)
    assert (answer.code, answer.out) == (1, "")
    assert f"{key} is not set in Pulumi.local.yaml, and has no default" in answer.err


def test_set_keeps_everything_else_in_the_file(slipway: Slipway, root: Path) -> None:
    before = text(root)
    answer = slipway("config", "set", "api.replicas", "3")
    assert (answer.code, answer.out) == (0, "")
    assert text(root) == before.replace("replicas: 2 #", "replicas: 3 #")


def test_set_reads_values_as_yaml(slipway: Slipway, root: Path) -> None:
    assert slipway("config", "set", "features.swagger", "true").code == 0
    assert slipway("config", "set", "cors_origins", "[http://localhost:5173]").code == 0
    assert slipway("config", "set", "cors_origins[1]", "http://localhost:5174").code == 0
    assert slipway("config", "set", 'tags["cost.centre"]', "4711").code == 0
    assert slipway("config", "set", "api.replicas", stdin="4\n").code == 0
    found = config(root)
    assert found["slipway:features"] == {"swagger": True}
    assert found["slipway:cors_origins"] == ["http://localhost:5173", "http://localhost:5174"]
    assert found["slipway:tags"] in ({"cost.centre": "4711"}, {"cost.centre": 4711})
    assert found["slipway:api"] == {"replicas": 4}


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("api.replicas", "many", "api.replicas"),
        ("api.replicas", "0.5", "api.replicas"),
        ("api.replcas", "3", "replicas"),
        ("target", "mars", "target"),
    ],
)
def test_a_value_that_adds_a_problem_is_refused(slipway: Slipway, root: Path, key: str, value: str, told: str) -> None:
    before = text(root)
    answer = slipway("config", "set", key, value)
    assert answer.code == 1
    assert answer.err.startswith("error: Pulumi.local.yaml was not changed:")
    assert told in answer.err
    assert text(root) == before


def test_a_server_of_ones_own_can_be_set_and_given_up(slipway: Slipway, root: Path) -> None:
    """Provider and URL need each other, and each was refused without the other."""
    key, url = "secrets.database_url", "postgresql://ada:4b1d7c9f2e8a6053@db.example.com/shop?sslmode=require"
    answer = slipway("config", "set", "postgres.provider", "external")
    assert answer.code == 0, answer.err
    assert f"{key}\n    is required with postgres.provider external" in answer.err
    answer = slipway("config", "set", "--secret", key, stdin=url)
    assert answer.code == 0, answer.err
    assert slipway("config", "get", key, "--show-secrets").out == f"{url}\n"

    answer = slipway("config", "set", "postgres.provider", "embedded")
    assert answer.code == 0, answer.err
    assert "would not be used" in answer.err
    answer = slipway("config", "rm", key)
    assert answer.code == 0, answer.err
    assert config(root)["slipway:postgres"] == {"provider": "embedded"}


def test_a_file_with_a_problem_can_be_mended_in_steps(slipway: Slipway, root: Path) -> None:
    file = root / "Pulumi.local.yaml"
    file.write_text(text(root).replace("replicas: 2", "replicas: none\n    port: none"))
    assert slipway("config", "set", "api.replicas", "3").code == 0
    assert slipway("config", "rm", "api.port").code == 0
    assert config(root)["slipway:api"] == {"replicas": 3}


def test_rm_removes_what_is_left_empty_and_only_that(slipway: Slipway, root: Path) -> None:
    assert slipway("config", "rm", "api.replicas").code == 0
    assert config(root) == {"slipway:target": "local"}
    answer = slipway("config", "rm", "api.replicas")
    assert answer.code == 1
    assert "there is nothing to remove" in answer.err


def test_rm_of_what_is_needed_is_refused(slipway: Slipway, root: Path) -> None:
    before = text(root)
    answer = slipway("config", "rm", "target")
    assert answer.code == 1
    assert text(root) == before


def test_a_secret_is_read_from_standard_input_and_encrypted(slipway: Slipway, root: Path) -> None:
    key = "secrets.openai_api_key"
    answer = slipway("config", "set", "--secret", key, stdin="sk-0123456789abcdefghijklmnopqrstuvwxyz\n")
    assert answer.code == 0, answer.err
    assert "sk-0123" not in text(root) + answer.out + answer.err
    assert slipway("config", "get", key).out == "[secret]\n"
    assert slipway("config", "get", key, "--show-secrets").out == "sk-0123456789abcdefghijklmnopqrstuvwxyz\n"
    assert "sk-0123" not in slipway("config", "get").out


def test_a_secret_on_the_command_line_is_refused(slipway: Slipway, root: Path) -> None:
    before = text(root)
    answer = slipway("config", "set", "--secret", "secrets.openai_api_key", "sk-x")
    assert answer.code == 2
    assert "stays in the shell's history" in answer.err
    assert "sk-x" not in answer.err
    assert text(root) == before


def test_an_empty_secret_is_refused(slipway: Slipway) -> None:
    answer = slipway("config", "set", "--secret", "secrets.openai_api_key", stdin="\n")
    assert answer.code == 2
    assert "the secret is empty" in answer.err


def test_a_secret_is_not_written_readable_nor_a_setting_hidden(slipway: Slipway, root: Path) -> None:
    before = text(root)
    assert "is a secret: set it with" in slipway("config", "set", "secrets.openai_api_key", "sk-x").err
    assert "is not a secret" in slipway("config", "set", "--secret", "api.replicas", stdin="3").err
    assert text(root) == before


def test_the_first_secret_of_a_stack_makes_its_salt(
    slipway: Slipway, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "Pulumi.test.yaml").write_text("config:\n  slipway:target: local\n")
    arguments = ("config", "set", "--secret", "secrets.openai_api_key", "--stack", "test")
    value = "sk-0123456789abcdefghijklmnopqrstuvwxyz"
    refused = slipway(*arguments, stdin=value)
    assert refused.code == 1
    assert "needs its passphrase" in refused.err
    assert "encryptionsalt" not in text(root, "test")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "chosen")
    assert slipway(*arguments, stdin=value).code == 0
    assert "encryptionsalt: v1:" in text(root, "test")
    assert slipway("config", "get", "secrets.openai_api_key", "--show-secrets", "--stack", "test").out == f"{value}\n"


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("api", ("slipway:api",)),
        ("api.replicas", ("slipway:api", "replicas")),
        ("slipway:api.replicas", ("slipway:api", "replicas")),
        ("aws:region", ("aws:region",)),
        ("permits[0].until", ("slipway:permits", 0, "until")),
        ('tags["a.b"].c', ("slipway:tags", "a.b", "c")),
        ("worker.groups.slow-one.replicas", ("slipway:worker", "groups", "slow-one", "replicas")),
    ],
)
def test_keys_are_read(key: str, path: tuple[str | int, ...]) -> None:
    assert keypath.parse(key, project="slipway") == path
    assert render_path(path).removeprefix("slipway:") == key.removeprefix("slipway:")


@pytest.mark.parametrize("key", ["", ".", "a.", "a..b", "[0]", "a[", "a[x]", 'a["'])
def test_what_is_no_key_is_told(key: str) -> None:
    with pytest.raises(UsageError, match="is not a key"):
        keypath.parse(key, project="slipway")


def test_put_makes_what_is_missing_and_refuses_what_is_in_the_way() -> None:
    tree: dict[str, Any] = {"a": 1, "list": [1]}
    keypath.put(tree, ("b", "c", 0, "d"), 2)
    assert tree["b"] == {"c": [{"d": 2}]}
    with pytest.raises(CommandError, match="needs a map there, and there is a single value"):
        keypath.put(tree, ("a", "x"), 2)
    with pytest.raises(CommandError, match=r"the list has 1 items; the next one is \[1\]"):
        keypath.put(tree, ("list", 5), 2)
    with pytest.raises(CommandError, match="needs a list there, and there is a map"):
        keypath.put(tree, ("b", 0), 2)


COMMENTED = """\
# the file
config:
  slipway:target: local
  # about features
  slipway:features:
    swagger: true # on
    metrics: true
  # about log

  slipway:log:
    format: text
  # about protect
  slipway:protect: false
# about the salt
encryptionsalt: none
"""


def edited(text: str, *edits: tuple[str, ...]) -> str:
    tree = YAML().load(text)
    for key, *value in edits:
        path = keypath.parse(key, project="slipway")
        if value:
            keypath.put(tree["config"], path, YAML().load(value[0]))
        else:
            keypath.remove(tree["config"], path)
    stream = io.StringIO()
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(tree, stream)
    return stream.getvalue()


def test_a_new_key_does_not_slip_between_a_comment_and_its_key() -> None:
    added = edited(COMMENTED, ("api.port", "3"), ("log.level", "debug"), ("features.health_check", "true"))
    assert added == COMMENTED.replace("format: text\n", "format: text\n    level: debug\n").replace(
        "metrics: true\n", "metrics: true\n    health_check: true\n"
    ).replace("protect: false\n", "protect: false\n  slipway:api:\n    port: 3\n")
    assert edited(added, ("api.port",), ("log.level",), ("features.health_check",)) == COMMENTED


def test_a_changed_value_leaves_all_comments() -> None:
    changed = edited(COMMENTED, ("protect", "true"), ("features.swagger", "false"), ("log.format", "json"))
    assert changed == (
        COMMENTED.replace("protect: false", "protect: true")
        .replace("swagger: true #", "swagger: false #")
        .replace("format: text", "format: json")
    )


def test_a_removed_key_leaves_the_next_ones_comment() -> None:
    removed = edited(COMMENTED, ("features",), ("log",))
    assert removed.count("#") == COMMENTED.count("#") - 1, "only the comment on its own line goes"
    assert "  # about protect\n  slipway:protect: false\n# about the salt\nencryptionsalt" in removed
    assert "config:\n  # about features\n  slipway:features" in edited(COMMENTED, ("target",))


def test_a_list_and_a_secret_keep_the_comment_below_them() -> None:
    text = edited(COMMENTED, ("log.items[0]", "a"), ("log.items[1]", "b"))
    assert "    items:\n      - a\n      - b\n  # about protect\n  slipway:protect" in text


@pytest.mark.parametrize("line", ["", "secretsprovider: awskms://alias/x\n"])
def test_a_first_secret_does_not_choose_what_encrypts_a_cloud_stack(slipway: Slipway, root: Path, line: str) -> None:
    """It wrote a salt, and with it a passphrase was what encrypts all secrets of the stack."""
    file = root / "Pulumi.prod.yaml"
    file.write_text(f"{line}config:\n  slipway:target: aws\n  slipway:region: eu-central-1\n")
    before = file.read_text()
    answer = slipway("config", "set", "--secret", "secrets.openai_api_key", "--stack", "prod", stdin="sk-1234567890abc")
    assert answer.code == 1
    assert ("pulumi stack init prod" if not line else "which only the Pulumi CLI can use") in answer.err
    assert file.read_text() == before
