"""Every secret that the program makes hangs on a generation: the list is what the plans of all targets ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.engine.plan import Plan, plan
from infra.engine.project.project import ProgramConfig, Project
from infra.settings.platform import Rotation

Planned = Callable[..., Plan]

PUBLIC = {"random:index/randomId:RandomId"}
"""Suffixes of names: they show everywhere."""
RANDOM_BY_OTHERS = re.compile(r"^(tls:|aws:iam/accessKey|aws:secretsmanager/secretRotation|aws:.*[pP]assword)")
"""Types that make secrets by themselves; a plan with one of them needs a generation for it here."""
GENERATIONS = [name for name in Rotation.model_fields if name != "jwt_min"]
REPLICAS = {"postgres": {"read_replicas": 1}}
PRESETS = ("small", "medium", "large")
STACKS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "local": ("local", {}),
    "staging": ("staging", {}),
    "prod": ("prod", {}),
    "prod with replicas": ("prod", REPLICAS),
}
MADE = {
    "local": {
        "migrate": {"postgres-migrate-password"},
        "master": {"postgres-admin-password", "redis-admin-password"},
        "backup": set(),
    },
    "prod": {
        "migrate": {"postgres-migrate-password"},
        "master": {"redis-nobody-password"},
        "backup": {"postgres-backup2-password"},
    },
    "prod with replicas": {
        "master": {"redis-nobody-password", "postgres-master-password"},
    },
}

Secrets = Callable[..., dict[str, Any]]


@pytest.fixture
def secrets(project: Project, planned: Planned) -> Secrets:
    """The inputs of every random secret of a stack or preset, by name, with some generations raised."""

    def made(name: str, **rotation: int) -> dict[str, Any]:
        if name in PRESETS:
            graph = plan(project=project, stack=name, config=preset(project.root, name, rotation))
        else:
            stack, groups = STACKS[name]
            graph = planned(stack, **groups, rotation=rotation)
        assert not [r.type for r in graph.resources if RANDOM_BY_OTHERS.match(r.type)]
        random = [r for r in graph.resources if r.type.startswith("random:") and r.type not in PUBLIC]
        return {r.name: dict(r.inputs) for r in random}

    return made


def preset(root: Path, name: str, rotation: Mapping[str, int]) -> ProgramConfig:
    tree = yaml.safe_load((root / f"docs/aws/presets/Pulumi.{name}.yaml").read_text())["config"]
    values = {**tree, f"{next(iter(tree)).partition(':')[0]}:rotation": dict(rotation)}
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    return ProgramConfig(values=texts, secret_keys=frozenset())


@pytest.mark.parametrize("name", [*STACKS, *PRESETS])
def test_every_secret_is_another_after_two_steps_of_every_generation(secrets: Secrets, name: str) -> None:
    """Two, since a step of a login with two slots renews the idle one."""
    before = secrets(name)
    after = secrets(name, **dict.fromkeys(GENERATIONS, 4))
    assert len(before) >= 8
    assert [secret for secret in before if before[secret] == after.get(secret)] == []


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in MADE.items() for key in keys])
def test_a_step_renews_what_it_says_and_nothing_else(secrets: Secrets, name: str, key: str) -> None:
    before, after = secrets(name), secrets(name, **{key: 2})
    assert set(before) <= set(after)
    assert {secret for secret in after if before.get(secret) != after[secret]} == MADE[name][key]


@pytest.mark.parametrize("name", STACKS)
def test_at_the_first_generation_a_value_from_before_there_was_one_stays(secrets: Secrets, name: str) -> None:
    """Any input more would make it anew at the next `up`."""
    inputs = secrets(name)
    single = {secret for secret in inputs if re.search(r"-(migrate|backup|admin|master|nobody)-password$", secret)}
    assert single
    assert [secret for secret in single if "keepers" in inputs[secret]] == []
