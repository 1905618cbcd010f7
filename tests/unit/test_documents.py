"""What the documents name is there: files and folders, modules and what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.features import FEATURES

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_SPAN = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(?:app|infra|stacks|tests|docs|benchmarks|requirements)/[\w./*-]*")
_NAME = re.compile(r"(?:app|infra|stacks)(?:\.\w+)+")
GONE = () if "predictions" in FEATURES else ("app/predictions",)
"""Decisions go on telling of a feature that was deleted."""
GUIDE = "docs/make-it-yours.md"
"""It names files that its reader makes."""


def spans(page: Path) -> Iterator[str]:
    """The code in the page's sentences, without its blocks."""
    yield from _SPAN.findall(re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL))


def is_there(name: str) -> bool:
    """A module, or something that a module defines."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        for module in (place.with_suffix(".py"), place / "__init__.py"):
            if module.exists():
                return length == len(parts) or re.search(rf"\b{parts[length]}\b", module.read_text()) is not None
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_paths_and_modules_that_a_page_names_exist(page: Path) -> None:
    if page == ROOT / GUIDE:
        pytest.skip("its test makes the files that it names: tests/local/yours")
    named = list(spans(page))
    paths = {word for span in named for word in span.split() if _PATH.fullmatch(word)}
    missing = {path for path in paths if not any(ROOT.glob(path.rstrip("/"))) and not path.startswith(GONE)}
    modules = {word for span in named for word in span.split() if _NAME.fullmatch(word) and not word.endswith(".py")}
    assert sorted(missing | {name for name in modules if not is_there(name)}) == []
