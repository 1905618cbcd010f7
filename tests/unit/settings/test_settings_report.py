# ruff: noqa: E501 - the report's own lines are as long as they are
"""The report, word for word: it is what somebody with a broken stack file works from."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from infra.cli import main as slipway
from infra.settings import Problem, SettingsError, load, parse

ROOT = Path(__file__).parents[3]

TEN_MISTAKES = {
    "target": "aws",
    "region": "eu-cental-1",
    "domain": {"name": "api.example.com"},
    "cors_origins": ["https://app.example.com", "*"],
    "postgres": {"size": "db.t4g.mirco", "highAvailability": False},
    "api": {"replcas": 3, "request_timeout": 30, "cpu": 0.5, "memory": "8 GiB"},
    "worker": {"concurrency": 0, "lease": "10s"},
    "log": {"level": "warn"},
    "secrets": {"jwt": "hunter2"},
}

REPORT = """\
Pulumi.prod.yaml: 11 problems in the settings. Nothing was changed.

  region = eu-cental-1
    is no region of aws; eu-central-1 is the nearest name. Allowed: @REGIONS@.
    $ slipway config set region eu-central-1 --stack prod

  postgres.highAvailability = false
    is not a setting. Did you mean postgres.high_availability?
    $ slipway config rm postgres.highAvailability --stack prod && slipway config set postgres.high_availability false --stack prod

  postgres.size = db.t4g.mirco
    is no size of provider aws. Allowed: @CLASSES@.
    $ slipway config set postgres.size db.t4g.micro --stack prod

  api.request_timeout = 30
    has no unit: write 30s if seconds were meant. Allowed: a duration from 1ms to 24h.
    $ slipway config set api.request_timeout 30s --stack prod

  api.replcas = 3
    is not a setting. Did you mean api.replicas?
    $ slipway config rm api.replcas --stack prod && slipway config set api.replicas 3 --stack prod

  api.memory = 8 GiB
    cannot go with 0.5 vCPU on Fargate. Allowed: 1 GiB, 2 GiB, 3 GiB, 4 GiB.
    $ slipway config set api.memory '4 GiB' --stack prod

  worker.concurrency = 0
    is out of range. Allowed: a whole number from 1 to 1000 jobs.
    $ slipway config set worker.concurrency 1 --stack prod

  worker.lease = 10s
    ends before worker.job_timeout (1m40s): another worker would take the job over while it still runs. Allowed: 1m40s or more.
    $ slipway config set worker.lease 2m --stack prod

  cors_origins[1] = *
    would let every web site call the API in its visitors' name. Allowed: the origins of your own sites, such as https://app.example.com.
    $ slipway config rm 'cors_origins[1]' --stack prod

  log.level = warn
    is not one of the choices. Allowed: one of debug, info, warning, error. Did you mean warning?
    $ slipway config set log.level warning --stack prod

  secrets.jwt = [secret]
    has 7 characters. Allowed: 64 or more, as `openssl rand -base64 64` makes them, or nothing: the program then makes its own keys.
    $ slipway config set --secret secrets.jwt --stack prod"""


def report(tree: object, stack: str = "prod") -> str:
    with pytest.raises(SettingsError) as caught:
        parse(tree, stack=stack)  # type: ignore[arg-type]
    return str(caught.value)


def test_the_whole_report() -> None:
    from infra.settings.tables import AWS_REGIONS, RDS_MEMORY_GIB

    expected = REPORT.replace("@REGIONS@", ", ".join(AWS_REGIONS)).replace("@CLASSES@", ", ".join(RDS_MEMORY_GIB))
    assert report(TEN_MISTAKES) == expected


def test_the_error_is_for_the_person_at_the_keyboard() -> None:
    with pytest.raises(SettingsError) as caught:
        parse({"target": "loca"}, stack="local")
    assert caught.value.user_facing
    assert caught.value.problems == (
        Problem(
            path="target",
            value="loca",
            message="is not one of the choices",
            allowed="one of local, docker, aws, digitalocean",
            nearest="local",
            command="slipway config set target local --stack local",
        ),
    )


def test_an_empty_stack_file_says_what_is_missing() -> None:
    assert report({}).splitlines()[2:] == [
        "  target",
        "    is required. Allowed: one of local, docker, aws, digitalocean.",
        "    $ slipway config set target VALUE --stack prod",
    ]


def test_a_key_in_the_wrong_place_is_found_elsewhere() -> None:
    assert "Did you mean api.scaling.requests_per_second?" in report({"target": "local", "requests_per_second": 3})
    assert "Did you mean api.replicas?" in report({"target": "local", "replicas": 3})


def test_a_faulty_key_brings_no_problems_of_its_dependents() -> None:
    """A wrong target would otherwise be followed by everything that the right one would have allowed."""
    text = report(
        {"target": "awss", "region": "eu-central-1", "domain": {"name": "api.example.com"}, "api": {"cpu": 3}}
    )
    assert text.count("$ slipway") == 1
    text = report({"target": "local", "worker": {"concurrency": "x", "groups": {"a": {}, "b": {}}}})
    assert text.count("$ slipway") == 1, "groups start from the worker's values: one mistake, one problem"


def test_settings_of_the_runtime_config() -> None:
    """As Pulumi hands them over: text, with maps and lists as JSON; empty texts stand for what is not set."""
    values = {
        "slipway:target": "local",
        "slipway:region": "",
        "slipway:api": json.dumps({"replicas": 3, "port": 4000}),
        "slipway:cors_origins": '["https://a.example.com"]',
        "slipway:protect": "false",
        "slipway:permits": "[]",
        "aws:region": "eu-west-1",
    }
    settings = load(values, project="slipway", stack="local")
    assert (settings.api.replicas, settings.api.port, settings.protect) == (3, 4000, False)
    assert settings.cors_origins == ("https://a.example.com",)
    assert (settings.project, settings.stack, settings.region) == ("slipway", "local", None)


def test_broken_json_is_one_problem() -> None:
    with pytest.raises(SettingsError, match=r"api = \{oops\n +is not a map of settings"):
        load({"slipway:target": "local", "slipway:api": "{oops"}, project="slipway", stack="local")


def test_a_misspelled_namespace_is_no_providers() -> None:
    values = {"slipway:target": "local", "slipwy:api": '{"replicas": 3}', "aws:region": "x", "docker:host": "y"}
    with pytest.raises(SettingsError) as caught:
        load(values, project="slipway", stack="local")
    assert [(problem.path, problem.nearest) for problem in caught.value.problems] == [("slipwy:api", "slipway:api")]


def test_an_encrypted_value_that_is_no_secret() -> None:
    """A plan sees its placeholder only; "is not a whole number" would send the reader the wrong way."""
    text = report({"target": "local", "api": {"replicas": "[secret]"}})
    assert "api.replicas = [secret]" in text
    assert "is encrypted, so that a plan made without the passphrase cannot read it" in text


def test_project_and_stack_are_pulumis_to_say() -> None:
    text = report({"target": "local", "project": "mine", "stack": "other"})
    assert "project = mine\n    is not a setting" in text
    assert "stack = other\n    is not a setting" in text


def test_a_faulty_key_in_a_group_that_should_go_is_no_excuse() -> None:
    text = report({"target": "local", "network": {"nat": "both"}})
    assert "network.nat = both" in text
    assert "means nothing with target local" in text


def test_names_with_dots_are_quoted() -> None:
    assert 'tags["cost.centre"]' in report({"target": "local", "tags": {"cost.centre": ["x"]}})


def test_every_command_runs_in_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report's own way out, taken: after its commands, the file is legal and its comments are still there."""
    shutil.copy(ROOT / "Pulumi.yaml", tmp_path)
    (tmp_path / "stacks").mkdir()
    tree = {key: value for key, value in TEN_MISTAKES.items() if key != "secrets"}
    file = tmp_path / "Pulumi.prod.yaml"
    lines = [f"  slipway:{key}: {json.dumps(value)}" for key, value in tree.items()]
    file.write_text("\n".join(["# mine", "config:", *lines, ""]))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as caught:
        parse(tree, stack="prod")
    for problem in caught.value.problems:
        for command in problem.command.split(" && "):
            assert slipway(shlex.split(command)[1:]) == 0, command
    text = file.read_text()
    assert text.startswith("# mine\n")
    config = yaml.safe_load(text)["config"]
    parse({key.removeprefix("slipway:"): value for key, value in config.items()}, stack="prod")


def test_settings_cannot_be_changed() -> None:
    settings = parse({"target": "local"}, stack="local")
    with pytest.raises(ValueError, match="frozen"):
        settings.api.replicas = 3
