"""Small trees that are legal on each target, and ways to change them."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.settings import Problem, Settings, SettingsError, parse

ROOT = Path(__file__).parents[3]

BASES: Mapping[str, Mapping[str, Any]] = {
    "local": {"target": "local"},
    "docker": {"target": "docker"},
    "aws": {"target": "aws", "region": "eu-central-1", "domain": {"name": "api.example.com"}},
    "digitalocean": {"target": "digitalocean", "region": "fra1", "postgres": {"size": "db-s-4vcpu-8gb"}},
}

Problems = Callable[[Mapping[str, Any]], tuple[Problem, ...]]


def with_value(tree: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `tree` with `value` at a dotted path; maps on the way are made."""
    changed: dict[str, Any] = copy.deepcopy(dict(tree))
    *parents, last = path.split(".")
    place = changed
    for part in parents:
        place = place.setdefault(part, {})
    place[last] = value
    return changed


@pytest.fixture
def base() -> Callable[..., dict[str, Any]]:
    """``base("aws", {"api.replicas": 3})``: a legal tree with changes at dotted paths."""

    def build(target: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        tree = copy.deepcopy(dict(BASES[target]))
        for path, value in (changes or {}).items():
            tree = with_value(tree, path, value)
        return tree

    return build


@pytest.fixture
def problems() -> Problems:
    """The problems of a tree; empty when it is legal."""

    def find(tree: Mapping[str, Any]) -> tuple[Problem, ...]:
        try:
            parse(tree, stack="test")
        except SettingsError as error:
            return error.problems
        return ()

    return find


@pytest.fixture
def mend() -> Callable[[Mapping[str, Any], Problem], dict[str, Any] | None]:
    """A tree after a problem's command was run; None where the command asks the user for a value."""

    def run(tree: Mapping[str, Any], problem: Problem) -> dict[str, Any] | None:
        changed: dict[str, Any] = copy.deepcopy(dict(tree))
        for command in problem.command.split(" && "):
            words = shlex.split(command)
            assert words[:2] == ["slipway", "config"], command
            assert words[-2:] == ["--stack", "test"], command
            verb, *rest = words[2:-2]
            if "--secret" in rest or "VALUE" in rest or not rest:
                return None
            steps = [int(p) if p.isdigit() else p for p in rest[0].replace("[", ".").replace("]", "").split(".")]
            place: Any = changed
            for step in steps[:-1]:
                if isinstance(place, dict) and not isinstance(place.get(step), dict | list):
                    place[step] = {}
                place = place[step]
            if verb == "rm":
                if isinstance(place, list):
                    place.pop(int(steps[-1]))
                else:
                    place.pop(steps[-1], None)
            else:
                place[steps[-1]] = yaml.safe_load(rest[1])
        return changed

    return run


@pytest.fixture
def stack_files() -> dict[str, dict[str, Any]]:
    """The tree of each stack file of the project, by stack."""
    files = sorted(ROOT.glob("Pulumi.*.yaml"))
    return {
        file.name.split(".")[1]: {
            key.partition(":")[2]: value for key, value in yaml.safe_load(file.read_text())["config"].items()
        }
        for file in files
    }


@pytest.fixture
def settings(base: Callable[..., dict[str, Any]]) -> Callable[..., Settings]:
    """``settings("aws", {"api.replicas": 3})``."""
    return lambda target, changes=None: parse(base(target, changes), stack="test")
