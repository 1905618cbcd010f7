"""`slipway plan` of the whole production stack, with nobody to ask. How long it takes is for `make bench-plan`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def cut() -> list[str]:
    """The command that takes the network away, where the system lets a user do that."""
    command = ["unshare", "--map-root-user", "--net"]
    if shutil.which(command[0]) is None:
        return []
    return command if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0 else []


@pytest.mark.parametrize("stack", ["prod", "staging"])
def test_a_plan_needs_no_network_and_no_credentials(stack: str, tmp_path: Path) -> None:
    answer = subprocess.run(
        [*cut(), sys.executable, "-m", "infra.cli", "plan", "--stack", stack, "--format", "json"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    names = {found["name"] for found in json.loads(answer.stdout)["resources"]}
    assert {"network-vpc", "postgres-instance", "redis-group", "api-service", "worker-service", "migrate-run"} <= names
