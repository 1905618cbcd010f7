"""No dead switches: each setting has a test that shows what it changes, and says so with a mark.

    @pytest.mark.flips("rate_limit_max")
    async def test_the_limit_and_its_headers(start): ...

The mark is for a test that would fail with another value of the setting: not one that reads the value back, nor one of
what was built from it. Marks are read from the source, so that a run of one file, or of half the tests, sees all.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from app.features import FEATURES
from app.settings import Settings

TESTS = Path(__file__).parents[2]

GONE = () if "predictions" in FEATURES else ("prediction_", "replicate_", "openai_", "webhook_")
"""How the settings of a deleted feature begin: they may stay, and nothing reads them then."""
NOT_READ_YET: dict[str, str] = {}
"""Settings that change nothing, with the reason why they are there all the same."""


def marks(source: str) -> Iterator[tuple[str, str]]:
    """Each test with a mark, and the name of a setting in it."""
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in function.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.flips":
                    for argument in decorator.args:
                        assert isinstance(argument, ast.Constant), f"{function.name}: write the names out"
                        yield function.name, str(argument.value)


def marked() -> list[tuple[Path, str, str]]:
    files = [file for file in TESTS.rglob("*.py") if file != Path(__file__)]
    return [
        (file, test, name)
        for file in files
        if "mark.flips" in (source := file.read_text())
        for test, name in marks(source)
    ]


def test_every_setting_has_a_test_that_flips_it() -> None:
    missing = Settings.model_fields.keys() - {name for _, _, name in marked()} - NOT_READ_YET.keys()
    missing = {name for name in missing if not name.startswith(GONE)}
    assert sorted(missing) == [], 'mark a test that shows what each of these changes: @pytest.mark.flips("name")'


def test_the_marks_name_settings_in_tests_that_set_them() -> None:
    for file, test, name in marked():
        where = f"{file.relative_to(TESTS)}: {test}"
        assert test.startswith("test_"), f"{where} is no test"
        assert name in Settings.model_fields, f"{where} names {name!r}, which is no setting"
        assert name.upper() in file.read_text(), f"{where} sets no {name.upper()}"


def test_what_nothing_read_is_still_read_by_nothing() -> None:
    assert NOT_READ_YET.keys() <= Settings.model_fields.keys()
    read = {name for _, _, name in marked()} & NOT_READ_YET.keys()
    assert sorted(read) == [], "these are flipped now: take them out of NOT_READ_YET"


def test_a_mark_is_found_however_it_is_written() -> None:
    source = """
@pytest.mark.flips("one", "two")
@pytest.mark.parametrize("x", [1])
async def test_a(): ...

class TestB:
    @pytest.mark.flips('three')
    def test_b(self): ...

def test_c(): pytest.mark.flips("no decorator")
"""
    assert sorted(marks(source)) == [("test_a", "one"), ("test_a", "two"), ("test_b", "three")]
