"""How the program is run: as the language host would, and again and again in one process."""

from __future__ import annotations

import gc
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest


def test_runs_in_its_own_folder_and_puts_everything_back(stack: Any) -> None:
    before = (Path.cwd(), list(sys.path), list(sys.argv), sys.stdout, sys.modules["__main__"])
    result = stack.program('import os\npulumi.export("cwd", os.getcwd())').must_up()
    assert result.outputs["cwd"] == os.fspath(stack.main)
    assert (Path.cwd(), list(sys.path), list(sys.argv), sys.stdout, sys.modules["__main__"]) == before


def test_files_beside_the_program_hide_no_package_and_can_be_imported(stack: Any) -> None:
    (stack.main / "json.py").write_text("raise AssertionError('hides the standard library')\n")
    (stack.main / "yaml.py").write_text("raise AssertionError('hides an installed package')\n")
    (stack.main / "beside_the_program.py").write_text("VALUE = 1\n")
    source = 'import yaml\nimport beside_the_program\npulumi.export("x", beside_the_program.VALUE)'
    assert stack.program(source).must_up().outputs == {"x": 1}


def test_modules_of_the_program_are_read_again_in_the_next_run(stack: Any) -> None:
    beside = stack.main / "also_beside.py"
    beside.write_text("VALUE = 1\n")
    stack.program('import also_beside\npulumi.export("x", also_beside.VALUE)').must_up()
    assert "also_beside" not in sys.modules
    beside.write_text("VALUE = 2 + 0\n")
    assert stack.must_up().outputs == {"x": 2}


def test_pickle_is_put_back(stack: Any) -> None:
    """The SDK wraps a method of the pickler anew for each dynamic resource: after some hundred, pickling failed."""
    before = dict(vars(pickle._Pickler))  # type: ignore[attr-defined]
    stack.program(
        """
from pulumi.dynamic import CreateResult, Resource, ResourceProvider

class Provider(ResourceProvider):
    def create(self, props):
        return CreateResult("1", props)

class Thing(Resource):
    pass

Thing(Provider(), "a", {})
"""
    ).must_up()
    assert vars(pickle._Pickler) == before  # type: ignore[attr-defined]


def test_config_reaches_the_program(stack: Any) -> None:
    stack.config = {"proj:size": "3", "proj:tree": '{"a": [1]}', "other:key": "x"}
    source = """
    config = pulumi.Config()
    pulumi.export("all", [config.get_int("size"), config.get_object("tree"), pulumi.Config("other").get("key")])
    pulumi.export("where", [pulumi.get_project(), pulumi.get_stack(), pulumi.runtime.is_dry_run()])
    """
    result = stack.program(source).must_up()
    assert result.outputs == {"all": [3, {"a": [1]}, "x"], "where": ["proj", "dev", False]}


def test_what_the_program_prints_and_logs_becomes_messages(stack: Any) -> None:
    stack.program('print("one\\ntwo")\npulumi.log.warn("careful")\npulumi.info("fyi")').must_up()
    assert stack.log.messages("info", "warning") == ["one", "two", "careful", "fyi"]


def test_an_awaited_entry_point_exports_what_it_returns(stack: Any) -> None:
    source = """
    async def main():
        return {"made": Thing("a").made}
    pulumi.run(main)
    """
    assert stack.program(source).must_up().outputs == {"made": "by a"}


def test_a_failed_run_leaves_nothing_that_complains_later(
    stack: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    source = """
    class Known(pulumi.CustomResource):
        made: pulumi.Output[str]
        def __init__(self):
            super().__init__("test:index:Thing", "known", {"made": None}, Opts(id="gone"))
    known = Known()
    Thing("a", of=known.made)
    pulumi.export("made", known.made)
    raise ValueError
    """
    assert not stack.program(source).up().succeeded
    gc.collect()
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_a_missing_program_is_told(stack: Any) -> None:
    result = stack.up()
    assert "there is no program" in result.failures[0].message
