"""The state is one and the same for this engine and the Pulumi CLI."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.engine.deployment import Deployment, Result
from infra.engine.display.events import NullSink
from infra.engine.errors import LockedError
from infra.engine.project.project import Project, StackFile
from infra.engine.state.backend import FileBackend, UpdateInfo
from infra.engine.state.crypto import PassphraseSecretsManager

PULUMI = shutil.which("pulumi")
RANDOM = shutil.which("pulumi-resource-random")
PASSPHRASE = "correct horse"
ROOT = Path(__file__).parents[3]

pytestmark = [
    pytest.mark.cli,
    pytest.mark.skipif(PULUMI is None, reason="the Pulumi CLI is not on PATH"),
    pytest.mark.skipif(
        RANDOM is None, reason="the random provider's plugin is not on PATH, and tests download nothing"
    ),
]

Pulumi = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "shared"


@pytest.fixture
def pulumi(program: Project, root: Path, tmp_path: Path) -> Pulumi:
    """Runs the CLI on the project, with a home of its own and no network."""
    root.mkdir()
    environ = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_BACKEND_URL": f"file://{root}",
        "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        answer = subprocess.run(
            [str(PULUMI), *arguments, "--non-interactive"],
            cwd=program.root,
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (answer.returncode == 0) == (code == 0), answer.stdout + answer.stderr
        return answer

    return run


@pytest.fixture
def ours(program: Project, root: Path, secrets: PassphraseSecretsManager) -> Callable[[str], dict[str, int]]:
    """Runs ``up``, ``preview`` or ``destroy`` of this engine on the same state; returns the counts."""

    def run(kind: str) -> dict[str, int]:
        backend = FileBackend(root)
        with backend.lock("demo", "dev"):
            deployment = Deployment(
                project=program,
                stack="dev",
                config=StackFile.load(program, "dev").program_config(secrets),
                snapshot=backend.load("demo", "dev", secrets),
                save=lambda snapshot: backend.save(snapshot, secrets),
                sink=NullSink(),
            )
            result: Result = getattr(deployment, kind)()
            assert result.succeeded, result.failures
            if kind != "preview":
                info = UpdateInfo(
                    kind="destroy" if kind == "destroy" else "update",
                    start_time=1,
                    end_time=2,
                    succeeded=True,
                    changes=result.changes,
                    config=StackFile.load(program, "dev").config(),
                )
                backend.finish(deployment.snapshot, secrets, info)
        return {op: count for op, count in result.changes.items() if count}

    return run


def changes(answer: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """The counts of ``pulumi preview --json``."""
    summary: dict[str, int] = json.loads(answer.stdout)["changeSummary"]
    return summary


def outputs(pulumi: Pulumi) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pulumi("stack", "output", "--json", "--show-secrets", "--stack", "dev").stdout)
    return found


def test_our_state_is_unchanged_to_the_cli(pulumi: Pulumi, ours: Callable[[str], dict[str, int]]) -> None:
    assert ours("up") == {"create": 4}
    answer = changes(pulumi("preview", "--json", "--stack", "dev"))
    assert answer == {"same": 4}
    pulumi("preview", "--expect-no-changes", "--stack", "dev")
    history = json.loads(pulumi("stack", "history", "--json", "--stack", "dev").stdout)
    assert [(entry["kind"], entry["result"], entry["resourceChanges"]) for entry in history] == [
        ("update", "succeeded", {"create": 4})
    ]


def test_the_clis_state_is_unchanged_to_us(pulumi: Pulumi, ours: Callable[[str], dict[str, int]]) -> None:
    pulumi("stack", "init", "dev", "--no-select")
    pulumi("up", "--yes", "--skip-preview", "--stack", "dev")
    before = outputs(pulumi)
    assert ours("preview") == {"same": 4}
    assert ours("up") == {"same": 4}
    assert outputs(pulumi) == before


def test_they_take_turns(pulumi: Pulumi, program: Project, ours: Callable[[str], dict[str, int]]) -> None:
    def greet(word: str) -> None:
        file = StackFile.load(program, "dev")
        file.data["config"]["demo:greeting"] = word
        file.save()

    ours("up")
    key = outputs(pulumi)["key"]
    greet("one")
    pulumi("up", "--yes", "--skip-preview", "--stack", "dev")
    assert outputs(pulumi) == {"key": key, "pages": 13, "token": "swordfish", "limits": {"count": 3}}
    assert ours("up") == {"same": 4}
    greet("two")
    assert ours("up")["update"] == 1
    pulumi("preview", "--expect-no-changes", "--stack", "dev")
    pulumi("destroy", "--yes", "--skip-preview", "--stack", "dev")
    assert ours("preview") == {"create": 4}


def test_we_can_destroy_what_the_cli_made(pulumi: Pulumi, ours: Callable[[str], dict[str, int]]) -> None:
    pulumi("stack", "init", "dev", "--no-select")
    pulumi("up", "--yes", "--skip-preview", "--stack", "dev")
    assert ours("destroy") == {"delete": 4}
    assert changes(pulumi("preview", "--json", "--stack", "dev")) == {"create": 4}


def test_our_lock_stops_the_cli(pulumi: Pulumi, ours: Callable[[str], dict[str, int]], root: Path) -> None:
    ours("up")
    with FileBackend(root).lock("demo", "dev"):
        answer = pulumi("up", "--yes", "--skip-preview", "--stack", "dev", code=255)
    assert "currently locked by 1 lock" in answer.stdout + answer.stderr
    assert f"(pid {os.getpid()})" in answer.stdout + answer.stderr
    pulumi("up", "--yes", "--skip-preview", "--stack", "dev")


def test_the_clis_lock_stops_us(program: Project, pulumi: Pulumi, root: Path, tmp_path: Path) -> None:
    """The program itself looks at the lock that the CLI holds while it runs."""
    pulumi("stack", "init", "dev", "--no-select")
    locks = root / ".pulumi/locks"
    copy = tmp_path / "locks"
    (program.main / "__main__.py").write_text(f"import shutil; shutil.copytree({str(locks)!r}, {str(copy)!r})\n")
    pulumi("up", "--yes", "--skip-preview", "--stack", "dev")
    shutil.copytree(copy, locks, dirs_exist_ok=True)
    (path,) = locks.rglob("*.json")
    owner = json.loads(path.read_text())
    # The CLI that wrote it has ended; this process stands in for it.
    path.write_text(json.dumps(owner | {"pid": os.getpid()}))
    with pytest.raises(LockedError, match=f"process {os.getpid()}"), FileBackend(root).lock("demo", "dev"):
        pass
    path.write_text(json.dumps(owner))
    told: list[str] = []
    with FileBackend(root).lock("demo", "dev", report=told.append):
        assert f"process {owner['pid']}" in told[0]


def test_the_documented_way_works_before_a_first_up(tmp_path: Path) -> None:
    """As `docs/getting-started.md` says it, from nothing; then what the CLI proposes after a destroy."""
    page = (ROOT / "docs/getting-started.md").read_text()
    recipe = page.partition("## With the Pulumi CLI")[2].partition("```console\n")[2].partition("```")[0]
    lines = [line.removeprefix("$ ") for line in recipe.splitlines()]
    assert lines[-1] == "pulumi up --stack local"
    lines[-1] += " --yes --skip-preview --non-interactive"
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks/__main__.py").write_text("import pulumi\npulumi.export('answer', 42)\n")
    (tmp_path / "Pulumi.yaml").write_text("name: slipway\nruntime: python\nmain: stacks/\n")
    shutil.copy(ROOT / "Pulumi.local.yaml", tmp_path)
    environ = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }
    last = "pulumi stack output answer --stack local && pulumi destroy --yes --skip-preview --stack local"
    script = "\n".join(["set -e", *lines, last, "pulumi stack rm local --yes --preserve-config"])
    answer = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=240, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "42" in answer.stdout
    assert (tmp_path / "Pulumi.local.yaml").read_bytes() == (ROOT / "Pulumi.local.yaml").read_bytes()
