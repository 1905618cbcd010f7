"""The committed reference is what the settings say."""

from __future__ import annotations

from pathlib import Path

from app.settings import Settings
from app.settings_reference import reference

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "environment.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == reference(), "run: python -m app.settings_reference > docs/reference/environment.md"


def test_every_variable_has_a_meaning() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
