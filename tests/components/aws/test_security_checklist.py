"""The security checklist: every point of the guide has a row, and every name in a row is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from infra.engine.plan import plan
from infra.engine.project.project import Project, StackFile

PAGE = "docs/security-checklist.md"
POINTS = {
    "Before production": (
        "Generate strong JWT_SECRET",
        "Set specific CORS_ORIGIN",
        "Disable Swagger",
        "Enable rate limiting",
        "Use SSL/TLS for database and Redis",
        "Set up firewall rules",
        "Use non-root Docker user",
        "Enable security headers",
        "Validate all environment variables",
        "Set up monitoring",
        "Configure backup strategy",
        "Test disaster recovery",
    ),
    "Pre-deployment": (
        "Strong JWT_SECRET",
        "CORS restricted to specific domains",
        "Swagger disabled",
        "SSL/TLS for DB and Redis",
        "Rate limiting enabled",
        "No default passwords",
        "Environment variables via secrets",
        "Docker images scanned for vulnerabilities",
    ),
    "Post-deployment": (
        "Monitor error logs",
        "Set up alerts",
        "Configure backups",
        "Test health checks",
        "Verify rate limiting works",
        "Test authentication flow",
        "Monitor resource usage",
    ),
}
"""The guide's two lists, in its words; the second has two parts."""


class Row(NamedTuple):
    section: str
    point: str
    how: str
    made: tuple[str, ...]
    tests: tuple[str, ...]


def _rows() -> tuple[Row, ...]:
    found, section = [], ""
    for line in (Path(__file__).parents[3] / PAGE).read_text().splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("| ") else []
        if len(cells) == 4 and cells[0] not in ("point", "---"):
            point, how, made, tests = cells
            names = tuple(tuple(re.findall(r"`([^`]+)`", cell)) for cell in (made, tests))
            found.append(Row(section, point, how, *names))
    return tuple(found)


ROWS = _rows()


@cache
def functions(file: Path) -> frozenset[str]:
    tree = ast.parse(file.read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.fixture(scope="module")
def names(project: Project) -> frozenset[str]:
    graph = plan(project=project, stack="prod", config=StackFile.load(project, "prod").program_config(None))
    return frozenset(resource.name for resource in graph.resources if resource.custom)


@pytest.mark.parametrize("section", POINTS)
def test_every_point_of_the_guide_has_its_row(section: str) -> None:
    assert tuple(row.point for row in ROWS if row.section == section) == POINTS[section]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section}: {row.point}")
def test_what_a_row_names_is_there(row: Row, names: frozenset[str], project: Project) -> None:
    assert row.made, "no resource answers this point"
    assert row.tests, "no test answers this point"
    assert [name for name in row.made if name not in names] == []
    for test in row.tests:
        file, _, function = test.partition("::")
        assert (project.root / file).is_file(), file
        assert function in functions(project.root / file), test


def test_no_row_is_passed_over() -> None:
    lines = (Path(__file__).parents[3] / PAGE).read_text().splitlines()
    assert len(ROWS) == sum(line.startswith("| ") and not line.startswith(("| point ", "| ---")) for line in lines)
