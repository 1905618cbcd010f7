"""The page says what the code says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import page
import pytest
import yaml

from infra.aws import queue_metrics, scaling_policies
from infra.settings import parse
from infra.workload import Workload

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "contract.md").read_text()


def test_the_page_is_current() -> None:
    assert page.page() == TEXT, "run: make docs"


@pytest.mark.parametrize("file", sorted(ROOT.glob("Pulumi.*.yaml")), ids=lambda file: file.name)
def test_it_names_every_variable_and_secret_of_every_stack(file: Path) -> None:
    config = yaml.safe_load(file.read_text())["config"]
    app = Workload.of(parse({key.partition(":")[2]: value for key, value in config.items()}, stack="test"))
    for spec in (*app.services, app.migrate, app.backup):
        assert {*spec.environment, *spec.secrets} <= set(re.findall(r"`([A-Z_]+)`", TEXT)), spec.name


def test_the_figures_said_to_scale_are_those_that_scaling_reads() -> None:
    tree = ast.parse(Path(scaling_policies.__file__).read_text())
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "figures"
    }
    names = {getattr(queue_metrics, name) for name in read} & set(queue_metrics.FIGURES)
    assert names == {line.split("`")[1] for line in TEXT.splitlines() if line.endswith("| scaling, alarms |")}
