"""The pages on AWS: links lead somewhere, and keys, commands and outputs that they name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra.cli.parser import build_parser
from infra.engine.plan import plan
from infra.engine.project.project import Project, StackFile
from infra.settings import describe
from infra.settings.tree import Settings

ROOT = Path(__file__).parents[3]
PAGES = (*sorted((ROOT / "docs/aws").rglob("*.md")), ROOT / "docs/security-checklist.md")
GROUPS = "alerts|api|backup|deliveries|domain|features|image|jwt|log|network|postgres|redis|rotation|secrets|worker"


def anchors(page: Path) -> set[str]:
    """As GitHub makes them: lower case, blanks to hyphens, other signs left out."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_keys_that_a_page_names_are_keys(page: Path) -> None:
    keys = {".".join(str(part) for part in key.path) for key in describe.keys(Settings)}
    named = set(re.findall(rf"`((?:{GROUPS})\.[a-z_0-9.]+[a-z_0-9])(?::[^`]*)?`", page.read_text()))
    named |= set(re.findall(r"slipway config set '?([a-z_.]+)'? ", page.read_text()))
    short = {"scaling.max_replicas", "pool_overflow"}  # of the API and of workers alike
    assert {name for name in named if name not in keys and name not in short} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_a_page_names_are_commands(page: Path) -> None:
    (commands,) = [
        action.choices for action in build_parser()._actions if action.dest == "run" or action.metavar == "COMMAND"
    ]
    assert set(re.findall(r"`slipway ([a-z]+)", page.read_text())) <= set(commands or ())
    assert set(re.findall(r"^\$ slipway ([a-z]+)", page.read_text(), re.MULTILINE)) <= set(commands or ())


def test_outputs_that_the_pages_name_are_outputs(project: Project) -> None:
    graph = plan(project=project, stack="prod", config=StackFile.load(project, "prod").program_config(None))
    named = {name for page in PAGES for name in re.findall(r"pulumi stack output ([a-z_]+)", page.read_text())}
    assert {"url", "cluster", "dashboard", "logs", "dumps"} <= named
    assert named <= set(graph.outputs)
