"""Plans of the project's own program, by the engine's recorder: no server, no plugin, no network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.engine.fakes import DeclaredFakes
from infra.engine.plan import Plan, plan
from infra.engine.project.project import ProgramConfig, Project, StackFile, load_project

ROOT = Path(__file__).parents[2]

RANDOM = {
    "random:index/randomPassword:RandomPassword": {"result": "planted-password"},
    "random:index/randomBytes:RandomBytes": {"base64": "planted-key"},
}
"""Known values in place of generated secrets; a test that finds one of them has found a leak."""


@pytest.fixture(scope="session")
def project() -> Project:
    return load_project(ROOT)


@pytest.fixture
def stack_config(project: Project) -> Callable[..., ProgramConfig]:
    """The config of a stack file without its secrets, with some keys set anew: ``rotation={"jwt": 2}``. What is no
    group takes the place of what was there."""

    def config(stack: str, secrets: Mapping[str, str] | None = None, **groups: Any) -> ProgramConfig:
        base = StackFile.load(project, stack).program_config(None)
        values = dict(base.values)
        for group, keys in {**groups, **({"secrets": secrets} if secrets else {})}.items():
            name = f"{project.name}:{group}"
            if isinstance(keys, Mapping):
                values[name] = json.dumps({**json.loads(values.get(name) or "{}"), **keys})
            else:
                values[name] = keys if isinstance(keys, str) else json.dumps(keys)
        hidden = base.secret_keys | ({f"{project.name}:secrets"} if secrets else set())
        return ProgramConfig(values=values, secret_keys=frozenset(hidden))

    return config


@pytest.fixture
def planned(project: Project, stack_config: Callable[..., ProgramConfig]) -> Callable[..., Plan]:
    """The plan of a stack; with ``known=True`` as if all outputs were known, so that code inside `apply` runs."""

    def make(stack: str = "local", *, known: bool = False, **groups: Any) -> Plan:
        fakes = DeclaredFakes(overrides=RANDOM) if known else None
        return plan(project=project, stack=stack, config=stack_config(stack, **groups), fakes=fakes)

    return make
