"""docs/aws/emulation.md says what the tables say, and no operation is neither moto's nor a stand-in's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from emulator.coverage import moto_has
from emulator.document import text
from emulator.kinds import KINDS
from emulator.standins import TABLE

PAGE = Path(__file__).parents[2] / "docs" / "aws" / "emulation.md"


def test_the_page_is_current() -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text())
    assert PAGE.read_text() == text()


@pytest.mark.parametrize("type_", sorted(KINDS))
def test_every_operation_is_answered(type_: str) -> None:
    kind = KINDS[type_]
    deletes = kind.delete if isinstance(kind.delete, tuple) else ()
    for step in (*kind.all_steps(), *filter(None, [kind.read]), *deletes):
        served = moto_has(kind.service, step.operation) or (kind.service, step.operation) in TABLE
        assert served, f"{kind.service}:{step.operation} has neither moto nor a stand-in"
