"""docs/make-it-yours.md, followed step by step in a copy of the tree."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from guide import Copy, Section, sections

pytestmark = [pytest.mark.local, pytest.mark.timeout(900)]

OF_THE_TREE = ("architecture", "documents", "project", "rooms", "workload")
BESIDE_PREDICTIONS = ("migrations", "accepting_deliveries", "delivery_by_worker", "lock_order", "variables_are_read")
"""What is left of the tests with servers, as far as it stands nearest to a deleted feature."""
MOST_BY_HAND = 5
"""Files for a new table, endpoint and kind of job, in one folder but for a line, besides the migration."""


HELD = (
    "tests/unit/test_workload.py",
    "tests/unit/app/wordcounts/test_wordcounts.py",
    "tests/unit/app/test_every_setting_is_flipped.py",
    "tests/unit/app/test_environment_reference.py",
    "tests/unit/settings/test_settings_stack_files.py",
    "tests/local/api/test_migrations.py",
    "tests/local/contract/test_contract_page.py",
)
"""What fails when a table or a setting is missing on one side, or in a reference."""


@pytest.fixture(scope="module")
def page() -> dict[str, Section]:
    return dict(sections())


def test_the_page_from_its_first_step_to_a_job_that_is_done(copy: Copy, page: dict[str, Section]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl: the page's requests are made with it")
    copy.follow(page["Rename the project"])
    copy.commit()

    copy.follow(page["Add a table, an endpoint and a kind of job"])
    written = {name for name in copy.changed() if not name.startswith("docs/reference/")}
    migrations = {name for name in written if name.startswith("app/migrations/versions/")}
    by_hand = written - migrations
    assert len(migrations) == 1
    assert len(by_hand) <= MOST_BY_HAND, sorted(by_hand)
    assert {name for name in by_hand if not name.startswith("app/wordcounts/")} == {"app/features.py"}
    copy.commit()

    copy.follow(page["Add a setting and a secret"])
    copy.run("ruff check app infra tests && ruff format --check app infra tests && lint-imports --no-cache")
    copy.run(f"pytest -q {' '.join(HELD)}")

    copy.run(f"slipway config set api.port {copy.port} --stack local")
    *_, answer = [copy.type(block) for block in page["Bring it up"].blocks if block.language == "console"]
    done = json.loads(answer.strip().splitlines()[-1])
    assert done["status"] == "counted"
    assert done["words"] > 0
    assert re.search(r"job ended.*kind=wordcount outcome=done", copy.run("cat .slipway/local/worker/log"))


def test_a_stack_takes_an_image_of_ones_own(copy: Copy, page: dict[str, Section]) -> None:
    section = page["Bring an image of your own"]
    copy.follow(section)
    plan = copy.run("slipway plan --stack prod")
    assert "registry.example.com/shop@sha256" in plan
    assert "docker:index" not in plan
    refused = copy.run("sh image/python -m app.unknown || echo $?")
    assert refused.splitlines()[-1] == "127"


def test_predictions_can_be_deleted(copy: Copy, page: dict[str, Section]) -> None:
    copy.follow(page["Delete what you do not need"])
    assert not (copy.folder / "app" / "predictions").exists()
    copy.run("ruff check app tests && lint-imports --no-cache")
    left = [
        *(copy.folder / "tests" / "unit").glob("app*"),
        *(copy.folder / "tests" / "unit" / f"test_{name}.py" for name in OF_THE_TREE),
    ]
    left += [next((copy.folder / "tests" / "local").rglob(f"test_{name}.py")) for name in BESIDE_PREDICTIONS]
    copy.run(f"pytest -q {' '.join(str(path.relative_to(copy.folder)) for path in left)}")
