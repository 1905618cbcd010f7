"""What the benchmarks need on the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.application.processes import BenchmarkError
from benchmarks.application.servers import PEER, prepare_node


def program(folder: Path, name: str, says: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)


def test_without_node_one_sentence_says_what_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchmarkError, match=r"needs node 20\.18 or newer and npm on PATH\.$"):
        prepare_node()


def test_an_old_node_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path, "node", "v18.20.4")
    program(tmp_path, "npm", "10.0.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchmarkError, match=r"20\.18"):
        prepare_node()


def test_the_lock_of_the_peer_names_no_registry_and_has_a_hash_for_every_package() -> None:
    lock = (PEER / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert lock.count('"integrity"') == lock.count('"node_modules/')
