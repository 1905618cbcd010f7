"""The guard under the real Pulumi CLI: its hooks, its order of steps, its meaning of protection."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PULUMI = shutil.which("pulumi")
RANDOM = shutil.which("pulumi-resource-random")

pytestmark = [
    pytest.mark.cli,
    pytest.mark.skipif(PULUMI is None, reason="the Pulumi CLI is not on PATH"),
    pytest.mark.skipif(
        RANDOM is None, reason="the random provider's plugin is not on PATH, and tests download nothing"
    ),
]

PROGRAM = """
import datetime
import pulumi
import pulumi_random as random
from infra.aws.guard import Guard, protect_stateful
from infra.settings.platform import Permit

STATEFUL = frozenset({{"random:index/randomPet:RandomPet"}})
permits = [
    Permit(resource="data", action=action, until=datetime.date(2026, 6, until), reason="It has been copied.")
    for action, until in {permits}
]
protect_stateful(Guard(permits=permits, stack="dev", day=lambda: datetime.date(2026, 6, {day}), stateful=STATEFUL))
if {generation}:
    random.RandomPet("data", keepers={{"generation": "{generation}"}})
"""

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs one command on a stack that is there already; what it printed. `fails` says that it must not succeed."""
    folder = tmp_path / "project"
    folder.mkdir()
    (tmp_path / "state").mkdir()
    (folder / "Pulumi.yaml").write_text("name: guarded\nruntime: python\n")
    environ = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
        "PULUMI_CONFIG_PASSPHRASE": "correct horse",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }

    def command(*arguments: str, fails: bool = False) -> str:
        answer = subprocess.run(
            [str(PULUMI), *arguments, "--non-interactive"],
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        text = answer.stdout + answer.stderr
        assert (answer.returncode != 0) == fails, text
        return text

    def make(
        *arguments: str,
        generation: int = 1,
        permits: tuple[tuple[str, int], ...] = (),
        day: int = 10,
        fails: bool = False,
    ) -> str:
        (folder / "__main__.py").write_text(PROGRAM.format(generation=generation, permits=list(permits), day=day))
        return command(*arguments, fails=fails)

    command("stack", "init", "dev")
    make("up", "--yes", "--skip-preview")
    return make


def test_a_replacement_needs_its_permit(run: Run) -> None:
    assert "marked for protection" in run("preview", generation=2, fails=True)
    run("preview", generation=2, permits=(("replace", 9),), fails=True)
    run("up", "--yes", generation=2, permits=(("replace", 15),))


def test_a_deletion_needs_its_permit_on_the_day(run: Run) -> None:
    # In a preview the CLI asks the hook before it looks at the protection.
    assert "data holds data and would be deleted." in run("preview", generation=0, fails=True)
    run("up", "--yes", "--skip-preview", permits=(("delete", 12),))
    late = run("up", "--yes", generation=0, permits=(("delete", 12),), day=13, fails=True)
    assert "data holds data and would be deleted. The permit to delete it ran out on 2026-06-12." in late
    run("up", "--yes", generation=0, permits=(("delete", 12),), day=12)


def test_a_permit_for_one_is_none_for_the_other(run: Run) -> None:
    run("up", "--yes", "--skip-preview", permits=(("replace", 15),))
    refused = run("preview", generation=0, permits=(("replace", 15),), fails=True)
    assert "data holds data and would be deleted. The permit to replace it does not let anyone delete it." in refused
    run("up", "--yes", "--skip-preview", permits=(("delete", 15),))
    refused = run("preview", generation=2, permits=(("delete", 15),), fails=True)
    assert "data holds data and would be replaced." in refused


def test_a_destroy_runs_the_program_and_asks_it(run: Run) -> None:
    run("up", "--yes", "--skip-preview", permits=(("replace", 15),))
    assert "--run-program" in run("destroy", "--yes", "--skip-preview", fails=True)
    refused = run("destroy", "--yes", "--run-program", permits=(("replace", 15),), fails=True)
    assert "data holds data and would be deleted" in refused
    run("up", "--yes", "--skip-preview", permits=(("delete", 15),))
    run("destroy", "--yes", "--run-program", permits=(("delete", 15),))
