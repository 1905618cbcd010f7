"""What is taken out of the image, compiled for it, and told of it."""

from __future__ import annotations

import importlib.util
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from app import __main__ as entry
from app.image import bytecode, sbom, slim
from app.web import docs

DPKG_STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u14
Description: C library
 with a second line

Package: old
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


def tree(folder: Path, *files: str) -> None:
    for name in files:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"1234")


def left(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_only_compilers_and_tests_read_is_taken_out(tmp_path: Path) -> None:
    kept = {"fast/loop.so", "fast/__init__.py", "fast/data.json", "fast/py.typed"}
    tree(tmp_path, *kept, "fast/loop.pyx", "fast/loop.c", "fast/loop.pyi", "fast/tests/test_loop.py")
    assert slim.slim(tmp_path) == 16
    assert left(tmp_path) == kept


def test_licences_and_a_package_that_is_called_tests_stay(tmp_path: Path) -> None:
    kept = {"fast-1.dist-info/licenses/tests/LICENSE.c", "fast-1.dist-info/METADATA", "tests/__init__.py"}
    tree(tmp_path, *kept)
    assert slim.slim(tmp_path) == 0
    assert left(tmp_path) == kept


def test_of_the_user_interfaces_those_files_stay_that_are_served(tmp_path: Path) -> None:
    served = {f"{docs._ASSETS_PACKAGE}/{file}" for file, _ in docs._ASSETS.values()}
    tree(tmp_path, *served, f"{docs._ASSETS_PACKAGE}/other.js", "elsewhere/other.js")
    slim.slim(tmp_path)
    assert left(tmp_path) == served | {"elsewhere/other.js"}


@pytest.mark.parametrize("module", [slim, bytecode])
def test_a_folder_must_be_named(module: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert module.main([]) == 2
    assert "usage: " in capsys.readouterr().err


def test_bytecode_lies_where_the_interpreter_looks_and_is_not_checked_against_times(tmp_path: Path) -> None:
    source = tmp_path / "package" / "module.py"
    tree(tmp_path, "package/module.py")
    bytecode.write([str(source)], to=tmp_path / "out")
    [written] = (tmp_path / "out").rglob("*.pyc")
    assert f"/{written.relative_to(tmp_path / 'out')}" == importlib.util.cache_from_source(str(source))
    flags = int.from_bytes(written.read_bytes()[4:8], "little")
    assert flags == 0b01, "hash-based, unchecked"


def test_bytecode_is_of_what_is_loaded_from_the_start_of_the_interpreter_on() -> None:
    paths = bytecode.loaded()
    assert all(Path(path).is_file() for path in paths)
    names = {Path(path).name for path in paths}
    assert {"application.py", "_strptime.py", "httptools_impl.py", "server.py"} <= names
    assert not any("/test/" in path or "/idlelib/" in path for path in paths)


@pytest.fixture(scope="module")
def packages() -> bytes:
    """What CycloneDX's tool says of this environment, as the Dockerfile runs it."""
    options = ["--output-reproducible", "--no-validate"]
    tool = [Path(sys.executable).with_name("cyclonedx-py"), "environment", *options, sys.executable]
    return subprocess.run(tool, check=True, capture_output=True, timeout=60).stdout


def test_the_inventory_names_python_and_debian_packages_once(tmp_path: Path, packages: bytes) -> None:
    (tmp_path / "status.d").mkdir()
    (tmp_path / "status").write_text(DPKG_STATUS)
    (tmp_path / "status.d" / "libpq5").write_text("Package: libpq5\nArchitecture: amd64\nVersion: 1:18.1-1\n")
    (tmp_path / "status.d" / "libc6").write_text(DPKG_STATUS)
    document = sbom.complete(json.loads(packages), dpkg=tmp_path, os_release={"ID": "debian", "VERSION_ID": "12"})
    # This project itself is installed here, and has none.
    found = [component["purl"] for component in document["components"] if component["name"] != "slipway"]
    assert sorted(set(found)) == found
    assert [purl for purl in found if purl.startswith("pkg:deb/")] == [
        "pkg:deb/debian/libc6@2.36-9+deb12u14?arch=amd64&distro=debian-12",
        "pkg:deb/debian/libpq5@1:18.1-1?arch=amd64&distro=debian-12",
    ]
    assert f"pkg:generic/python@{platform.python_version()}" in found
    assert any(purl.startswith("pkg:pypi/pydantic-core@") for purl in found)
    references = {component["bom-ref"] for component in document["components"]}
    assert document["dependencies"][0] == {"ref": "slipway-image", "dependsOn": sorted(references)}


def test_the_inventory_is_valid_and_has_names_versions_and_licences(tmp_path: Path, packages: bytes) -> None:
    (tmp_path / "status").write_text(DPKG_STATUS)
    listed = json.loads(packages)
    # A few of them: the validator takes twenty seconds for all.
    listed["components"] = [one for one in listed["components"] if one["name"] in ("starlette", "rq", "redis")]
    listed["dependencies"] = []
    document = sbom.complete(listed, dpkg=tmp_path, os_release={"ID": "debian", "VERSION_ID": "12"})
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None
    libraries = [one for one in document["components"] if one["bom-ref"].count("==")]
    assert len(libraries) == 3
    assert all(one["version"] and one["licenses"] for one in libraries)


def test_the_inventory_of_the_same_packages_is_the_same(tmp_path: Path, packages: bytes) -> None:
    """Built again it is the same file, in the same layer: it holds no time and no random number."""
    (tmp_path / "status").write_text(DPKG_STATUS)
    document = sbom.complete(json.loads(packages), dpkg=tmp_path, os_release={})
    assert "timestamp" not in document["metadata"]
    assert "serialNumber" not in document


def test_the_first_process_of_a_container_has_a_handler_before_it_loads_anything() -> None:
    script = (
        "import os, signal, sys\n"
        "os.getpid = lambda: 1\n"
        "from app import __main__ as entry\n"
        "assert entry.main({}) == entry.EXIT_SETTINGS\n"
        "signal.raise_signal(signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert done.returncode == entry.EXIT_TERMINATED == 143
