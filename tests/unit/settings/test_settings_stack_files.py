from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.settings import Settings, load, parse
from infra.settings import reference as generated
from infra.settings.describe import keys, model_of
from infra.settings.effects import effect
from infra.settings.invariants.placement import PROVIDERS
from infra.settings.tables import AWS_REGIONS

ROOT = Path(__file__).parents[3]
STACKS = ("digitalocean", "docker", "local", "prod", "staging")


def test_every_stack_file_is_legal(stack_files: Mapping[str, Mapping[str, Any]]) -> None:
    assert tuple(stack_files) == STACKS
    for stack, tree in stack_files.items():
        assert parse(tree, stack=stack).stack == stack


def test_every_target_has_a_stack_file(stack_files: Mapping[str, Mapping[str, Any]]) -> None:
    assert {tree["target"] for tree in stack_files.values()} == set(PROVIDERS)


def test_production_keeps_what_is_safe(stack_files: Mapping[str, Mapping[str, Any]]) -> None:
    prod = parse(stack_files["prod"], stack="prod")
    assert prod.protect
    assert prod.postgres.high_availability
    assert prod.redis.high_availability
    assert prod.network.nat == "per_zone"
    assert prod.network.waf
    assert not prod.features.swagger
    assert prod.environment == "production"


def test_the_reference_is_current() -> None:
    assert (ROOT / generated.REFERENCE).read_text(encoding="utf-8") == generated.reference(), (
        "run: python -m infra.settings.reference"
    )


def test_the_project_file_is_current() -> None:
    text = (ROOT / generated.PROJECT_FILE).read_text(encoding="utf-8")
    assert generated.project_file(text) == text, "run: python -m infra.settings.reference"


def test_every_key_is_described_in_the_reference() -> None:
    page = generated.reference()
    for key in keys(Settings):
        name = ".".join(str(part) for part in key.path).replace(".0", "[0]")
        assert f"| `{name}` |" in page
        description = " ".join((key.field.description or "").split())
        assert len(description) > 10, name
        assert description.endswith("."), name


def test_every_key_says_what_a_change_does() -> None:
    paths = [key.path for key in keys(Settings) if model_of(key.kind) is None or key.path[-1] in ("permits", "groups")]
    assert all(effect(path) for path in paths)


def test_a_key_that_a_stack_leaves_out_is_not_required_by_the_project_file() -> None:
    """The CLI asks for every key of the schema that has no default."""
    schema = generated.schema()
    assert [key for key, entry in schema.items() if "default" not in entry] == ["target"]
    defaults = {key: entry.get("default") for key, entry in schema.items()} | {"target": "local"}
    values = {f"slipway:{key}": _text(value) for key, value in defaults.items()}
    assert load(values, project="slipway", stack="x") == parse({"target": "local"}, stack="x")


def test_aws_regions_are_the_providers() -> None:
    """The provider's own list, read without importing the provider: that takes seconds."""
    spec = importlib.util.find_spec("pulumi_aws")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse((Path(spec.origin).parent / "_enums.py").read_text(encoding="utf-8"))
    region = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Region")
    known = {
        node.value.value
        for node in region.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    assert known, "the provider's list has moved"
    assert set(AWS_REGIONS) <= known


@pytest.mark.cli
@pytest.mark.skipif(shutil.which("pulumi") is None, reason="the Pulumi CLI is not on PATH")
def test_the_pulumi_cli_accepts_every_file(tmp_path: Path, stack_files: Mapping[str, Any]) -> None:
    """The CLI checks a stack file against the schema of the project file, and sets objects by `--path`."""
    for file in ROOT.glob("Pulumi*.yaml"):
        shutil.copy(file, tmp_path)
    (tmp_path / "state").mkdir()
    environment = os.environ | {
        "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
        "PULUMI_CONFIG_PASSPHRASE": "local",
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }

    def pulumi(*words: str) -> str:
        command = ["pulumi", "--non-interactive", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    for stack in stack_files:
        pulumi("stack", "init", stack)
        pulumi("config", "set", "--stack", stack, "--path", "api.replicas", "3")
        pulumi("config", "set", "--stack", stack, "--path", "cors_origins[0]", "https://other.example.com")
        pulumi("config", "set", "--stack", stack, "--path", "--secret", "secrets.openai_api_key", "sk-0c9f1b7ae2")
        config = json.loads(pulumi("config", "--stack", stack, "--json", "--show-secrets"))
        values = {key: entry["value"] for key, entry in config.items()}
        settings = load(values, project="slipway", stack=stack)
        assert settings.api.replicas == 3
        assert settings.cors_origins == ("https://other.example.com",)
        assert settings.secrets.text("openai_api_key") == "sk-0c9f1b7ae2"
        assert settings.protect is parse(stack_files[stack], stack=stack).protect


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def test_parse_needs_no_project_name(settings: Callable[..., Settings]) -> None:
    assert settings("local").project == "slipway"
