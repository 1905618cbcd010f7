"""Folders keep to themselves what is private to them, and no imports form a circle.

A name with an underscore belongs to its folder: whoever copies, moves or deletes a folder need not look for uses of it
elsewhere. Imports inside functions count as well: they hide a circle, and do not end it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for top in ("app", "infra", "stacks") for path in (ROOT / top).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in FILES}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def imports(path: Path) -> Iterator[tuple[str, str, str]]:
    """Each import of a module of ours: the module, the name taken from it or "", and the name that it gets here."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in MODULES:
                    yield alias.name, "", alias.asname or alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                if inner in MODULES:
                    yield inner, "", alias.asname or alias.name
                elif module in MODULES:
                    yield module, alias.name, alias.asname or alias.name


@cache
def private_members() -> dict[Path, set[str]]:
    """By folder, the private names that its classes and objects have."""
    found: dict[Path, set[str]] = {}
    for path in FILES:
        names = found.setdefault(path.parent, set())
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
            elif isinstance(node, ast.ClassDef):
                names.update(name for statement in node.body for name in _defined(statement))
    return {folder: {name for name in names if is_private(name)} for folder, names in found.items()}


def _defined(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def foreign_names(path: Path) -> Iterator[str]:
    """Private names of other folders that the file uses. A member counts where its own folder has none of that name."""
    modules = {bound: MODULES[module] for module, name, bound in imports(path) if not name}
    for module, name, _ in imports(path):
        if is_private(name) and MODULES[module].parent != path.parent:
            yield f"{module}.{name}"
    members = private_members()
    others = set().union(*(names for folder, names in members.items() if folder != path.parent)) - members[path.parent]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            module_file = modules.get(ast.unparse(node.value))
            if node.attr in others if module_file is None else module_file.parent != path.parent:
                yield ast.unparse(node)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_private_name_of_another_folder_is_used(path: Path) -> None:
    assert list(foreign_names(path)) == []


def test_no_imports_form_a_circle() -> None:
    graph = {name_of(path): {module for module, _, _ in imports(path)} - {name_of(path)} for path in FILES}
    while leaves := {module for module, needs in graph.items() if not needs}:
        graph = {module: needs - leaves for module, needs in graph.items() if module not in leaves}
    # What is left imports into a circle; of those, what something else in it imports stands in one.
    while rest := graph.keys() - set().union(*graph.values()):
        graph = {module: needs for module, needs in graph.items() if module not in rest}
    assert graph == {}
