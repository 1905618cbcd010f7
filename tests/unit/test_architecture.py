"""docs/architecture.md against the code: who imports whom, the glossary, and the files of the four journeys."""

from __future__ import annotations

import ast
import itertools
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PACKAGES = ("app", "infra", "stacks")
JOURNEYS = {
    "A setting, to a task definition": 12,
    "A request, to the stored attempt": 14,
    "One changed setting, through `up`": 25,
    "A rotation": 9,
}
"""The most files that each may lead through."""
BANNED = frozenset(
    {"adapted", "book", "boundary", "custom", "fate", "gather", "inline", "lean", "ledger"}
    | {"nudge", "popped", "taken", "tell", "told", "together", "watched", "watching"}
)
"""Words that the glossary has better ones for."""


def section(title: str) -> str:
    """What stands under a heading, to the next one of any depth."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"the page has no part {title!r}"
    return found[1]


def rows(title: str) -> Iterator[list[str]]:
    """The cells of the table in a part of the page, without its head."""
    table = [line for line in section(title).splitlines() if line.startswith("|")]
    for line in table[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


@cache
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES)


@cache
def identifiers() -> frozenset[tuple[str, ...]]:
    """The modules, classes and functions of the code, each as its words in small letters."""
    names = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            names.add(path.parent.name if path.stem == "__init__" else path.stem)
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    names.add(node.name)
    return frozenset(words(name) for name in names)


def words(name: str) -> tuple[str, ...]:
    """``StepExecutor`` and ``step_executors`` are both ("step", "executor")."""
    parts = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower())
    return tuple(part.removesuffix("s") for part in parts)


def has(name: tuple[str, ...], part: tuple[str, ...]) -> bool:
    return any(name[start : start + len(part)] == part for start in range(len(name)))


CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def test_the_table_of_imports_is_what_the_linter_holds() -> None:
    held: set[tuple[str, str]] = set()
    for contract in CONTRACTS:
        if contract["type"] == "forbidden":
            held |= set(itertools.product(contract["source_modules"], contract["forbidden_modules"]))
        elif contract["type"] == "independence":
            held |= set(itertools.permutations(contract["modules"], 2))
        else:
            assert contract["type"] == "layers", "say here what this kind of contract means"
    said: set[tuple[str, str]] = set()
    for who, never in rows("Who may import whom"):
        said |= set(itertools.permutations(code(who), 2) if "each other" in never else ())
        said |= set(itertools.product(code(who), code(never)))
    assert said == held


def test_the_layers_are_those_that_the_linter_holds() -> None:
    held = [
        [re.split(r"\s*[|:]\s*", layer) for layer in contract["layers"]]
        for contract in CONTRACTS
        if contract["type"] == "layers"
    ]
    lists = re.findall(r"(?:^\d+\. .*\n)+", section("From top to bottom"), re.MULTILINE)
    said = [[code(line) for line in layers.splitlines()] for layers in lists]
    assert said == held


def test_the_map_names_every_room() -> None:
    text = section("The rooms")
    rooms = {
        f"{package}/{path.name}"
        for package in ("app", "infra")
        for path in (ROOT / package).iterdir()
        if path.is_dir() and any(path.glob("*.py"))
    }
    rooms |= {f"infra/engine/{path.name}" for path in (ROOT / "infra" / "engine").iterdir() if any(path.glob("*.py"))}
    assert sorted(room for room in rooms if f"`{room}`" not in text) == []
    for places, _, first in rows("The rooms"):
        for place, module in itertools.product(code(places), code(first)):
            assert (ROOT / place / module).is_file(), f"{place} has no {module} to start with"


def test_the_glossary_is_short_and_its_words_are_the_identifiers() -> None:
    glossary = list(rows("Glossary"))
    assert 20 <= len(glossary) <= 30
    for term, _ in glossary:
        for word in code(term):
            assert any(has(name, words(word)) for name in identifiers()), f"nothing is called {word}"


def test_no_identifier_has_a_word_that_the_glossary_replaces() -> None:
    found = {"_".join(name) for name in identifiers() if BANNED & set(name)}
    assert sorted(found) == []


def tied(module: str) -> set[str]:
    """The modules that it imports or that import it, also by the package that hands its names on."""
    graph = imports()
    found = {*graph.find_modules_directly_imported_by(module), *graph.find_modules_that_directly_import(module)}
    packages = {package for package in found if module.startswith(f"{package}.")}
    return found.union(*(graph.find_modules_that_directly_import(package) for package in packages))


@pytest.mark.parametrize(("title", "most"), JOURNEYS.items())
def test_a_journey_leads_from_file_to_file(title: str, most: int) -> None:
    stops = re.findall(r"^\d+\. `([^`]+)`(.*)$", section(title), re.MULTILINE)
    files = [path for path, _ in stops]
    assert [path for path in files if not (ROOT / path).is_file()] == []
    assert 3 <= len(stops) <= most
    assert len(set(files)) == len(files), "a file comes twice"
    modules = [".".join(Path(path).with_suffix("").parts).removesuffix(".__init__") for path in files]
    loose = [
        module
        for number, module in enumerate(modules)
        if number and not stops[number][1].startswith(", by ") and not tied(module) & set(modules[:number])
    ]
    assert loose == [], "no file before these imports them, and they import none of those"
