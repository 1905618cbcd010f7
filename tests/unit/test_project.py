"""The project's own promises about its files: what installs what, who imports whom, what the README says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def locked(name: str) -> set[str]:
    """Names of the distributions that a lock pins."""
    text = (ROOT / "requirements" / name).read_text()
    return {canonicalize_name(found) for found in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def test_the_image_installs_no_pulumi() -> None:
    assert not {name for name in locked("app.txt") if name.startswith(("pulumi", "grpc"))}


def test_the_locks_pin_what_the_project_asks_for() -> None:
    project = PYPROJECT["project"]
    assert names(project["dependencies"]) <= locked("app.txt")
    everything = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    assert names(everything) | locked("app.txt") | locked("sbom.txt") <= locked("dev.txt")


@pytest.mark.parametrize("lock", ["app.txt", "dev.txt", "sbom.txt"])
def test_every_pin_has_a_hash_and_no_index_is_named(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    assert "://" not in text
    assert "index-url" not in text
    for pin in re.split(r"^(?=[A-Za-z0-9._-]+==)", text, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in pin, pin


def test_the_application_loads_without_the_program() -> None:
    """Importing every module of `app` must not pull in Pulumi, which the image does not have."""
    script = (
        "import importlib, pkgutil, sys, app\n"
        "for module in pkgutil.walk_packages(app.__path__, 'app.'):\n"
        "    if not module.name.endswith(('__main__', '.env')) and '.versions' not in module.name:\n"
        "        importlib.import_module(module.name)\n"
        "found = sorted(m for m in sys.modules if m.split('.')[0] in {'pulumi', 'infra', 'stacks', 'grpc'})\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)


def test_importing_the_library_does_nothing() -> None:
    """No import of `infra` may open a connection, start a thread or print."""
    script = (
        "import importlib, pkgutil, socket, sys, threading, infra\n"
        "def refuse(*args, **kwargs): raise AssertionError('an import opened a connection')\n"
        "socket.socket.connect = refuse\n"
        "for module in pkgutil.walk_packages(infra.__path__, 'infra.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60, capture_output=True, text=True
    )
    assert done.stdout == ""


def test_the_dependency_rules_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


def test_every_test_file_is_collected() -> None:
    """A test in a file that pytest does not recognise passes for ever."""
    strays = [
        path.relative_to(ROOT)
        for path in (ROOT / "tests").rglob("*.py")
        if not path.name.startswith("test_") and re.search(r"^\s*(async )?def test_", path.read_text(), re.MULTILINE)
    ]
    assert strays == []


def test_what_the_readme_links_to_exists() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


@pytest.fixture
def install(tmp_path: Path) -> Callable[[], str]:
    """`make install` in a folder of its own, with a Python that makes virtual environments of two lines of shell."""
    folder = tmp_path / "a clone"
    (folder / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for file in ("requirements/dev.txt", "pyproject.toml"):
        (folder / file).touch()
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\n[ "$2" != venv ] || { mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; }\n')
    python.chmod(0o755)

    def run() -> str:
        command = ["make", "-C", str(folder), "--no-print-directory", "install", f"PYTHON={python}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    return run


def test_an_environment_that_cannot_work_any_more_is_made_anew(install: Callable[[], str], tmp_path: Path) -> None:
    """After `mv` of the checkout, `make up` said that .venv/bin/slipway does not exist, though it did."""
    clone = tmp_path / "a clone"
    assert "Installing" in install()
    mark = clone / ".venv" / "mark"
    mark.touch()
    assert "Installing" not in install()
    assert mark.exists()
    (clone / ".venv" / ".installed").write_text(f"{tmp_path / 'where it was'}\n")
    assert "Installing" in install()
    assert not mark.exists()
    assert "Installing" not in install()
    mark.touch()
    # As Ctrl-C leaves it, or an upgrade of the system's Python.
    (clone / ".venv" / ".installed").unlink()
    (clone / ".venv" / "bin" / "python").unlink()
    assert "Installing" in install()
    assert not mark.exists()


def test_the_make_targets_of_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"(?:`|\$ )make ([a-z-]+)", page.read_text()):
            assert target in targets, f"{page.relative_to(ROOT)} names `make {target}`"
