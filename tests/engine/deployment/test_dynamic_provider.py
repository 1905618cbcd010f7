"""Dynamic resources: the program's own providers, called as Pulumi's host calls them."""

from __future__ import annotations

import json
from typing import Any

from infra.engine.values import Secret

COUNTER = """
from pathlib import Path
from pulumi.dynamic import CheckFailure, CheckResult, CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

def note(*what):
    with Path("{log}").open("a") as log:
        log.write(json.dumps(what) + "\\n")

class Provider(ResourceProvider):
    def configure(self, req):
        self.flavour = req.config.require("flavour")
    def check(self, olds, news):
        note("check", sorted(olds), news.get("size"))
        return CheckResult(news, [CheckFailure("size", "is too much")] if news.get("size") == 100 else [])
    def diff(self, id, olds, news):
        note("diff", id, olds.get("size"), news.get("size"))
        if Path("{alive}").exists():
            return DiffResult(changes=olds.get("size") != news.get("size"))
        return DiffResult(changes=True)
    def create(self, props):
        note("create", props["token"], props["size"], self.flavour)
        return CreateResult("made-1", {**props, "echo": props["token"], "answer": 42})
    def update(self, id, olds, news):
        note("update", id, olds["answer"], news["size"])
        return UpdateResult({**news, "echo": "again", "answer": 43})
    def delete(self, id, props):
        note("delete", id, props["answer"])

class Counter(Resource, module="app", name="Counter"):
    answer: pulumi.Output[int]
    token: pulumi.Output[str]
    def __init__(self, name, token, size, opts=None):
        super().__init__(Provider(), name, {"token": token, "size": size, "answer": None, "echo": None}, opts)
"""

USE = """
counter = Counter("c", pulumi.Config().require_secret("token"), {size}, Opts(additional_secret_outputs=["echo"]))
pulumi.export("answer", counter.answer)
pulumi.export("token", counter.token)
"""


def prepare(stack: Any, size: int = 1) -> Any:
    stack.config = {"proj:token": "s3cret", "proj:flavour": "mint"}
    stack.secret_keys = {"proj:token"}
    folder = stack.main.parent
    (folder / "alive").touch()
    source = COUNTER.replace("{log}", str(folder / "log")).replace("{alive}", str(folder / "alive"))
    return stack.program(source + USE.replace("{size}", str(size)))


def calls(stack: Any) -> list[list[Any]]:
    file = stack.main.parent / "log"
    lines = file.read_text().splitlines()
    file.unlink()
    return [json.loads(line) for line in lines]


def test_the_whole_life_of_a_dynamic_resource(stack: Any) -> None:
    result = prepare(stack).must_up()
    assert calls(stack)[-1] == ["create", "s3cret", 1.0, "mint"]
    assert result.outputs["answer"] == 42
    assert result.outputs["token"] == Secret("s3cret")
    state = stack.state("c")
    assert state.type == "pulumi-python:dynamic/app:Counter"
    assert state.id == "made-1"
    assert state.outputs["token"] == Secret("s3cret")
    assert state.outputs["echo"] == Secret("s3cret")
    assert state.outputs["answer"] == 42
    assert isinstance(state.outputs["__provider"], Secret)
    assert stack.must_up().changes == {"same": 2}
    assert {call[0] for call in calls(stack)} == {"check", "diff"}
    assert prepare(stack, 2).must_up().changes == {"update": 1, "same": 1}
    assert calls(stack)[-1] == ["update", "made-1", 42.0, 2.0]
    assert stack.destroy().succeeded
    assert calls(stack) == [["delete", "made-1", 43.0]]


def test_diff_is_asked_though_the_inputs_are_equal(stack: Any) -> None:
    prepare(stack).must_up()
    (stack.main.parent / "alive").unlink()
    assert stack.must_up().changes == {"update": 1, "same": 1}
    assert stack.log.started("c").reason == "its provider reports that it is not as recorded"


def test_the_default_provider_of_the_state_has_the_config(stack: Any) -> None:
    prepare(stack).must_up()
    provider = next(r for r in stack.snapshot.resources if r.type == "pulumi:providers:pulumi-python")
    assert provider.urn == "urn:pulumi:dev::proj::pulumi:providers:pulumi-python::default"
    assert provider.inputs == {"proj:flavour": "mint", "proj:token": Secret("s3cret")}
    assert provider.outputs == provider.inputs
    assert stack.state("c").provider == f"{provider.urn}::{provider.id}"


def test_refused_inputs_are_told_with_the_property(stack: Any) -> None:
    result = prepare(stack, 100).up()
    assert result.failures[0].message == "the inputs of c are refused: size: is too much"
    assert stack.saves == []


def test_what_create_returns_must_be_json(stack: Any) -> None:
    source = """
    from pulumi.dynamic import CreateResult, Resource, ResourceProvider
    class Provider(ResourceProvider):
        def create(self, props):
            return CreateResult("x", {"bad": {1, 2}})
    class Its(Resource):
        pass
    Its(Provider(), "r", {})
    """
    result = stack.program(source).up()
    assert "a set in 'bad'" in result.failures[0].message


def test_a_provider_that_cannot_be_loaded_is_told_with_the_way_out(stack: Any) -> None:
    prepare(stack).must_up()
    stack.state("c").outputs["__provider"] = Secret("bm90IGEgcGlja2xl")
    result = stack.destroy()
    assert "cannot be loaded" in result.failures[0].message
    assert stack.names() == ["c"]


def test_an_unknown_input_reaches_check_and_diff_as_the_sdks_unknown(stack: Any) -> None:
    source = """
    from pulumi.dynamic import CreateResult, CheckResult, Resource, ResourceProvider
    class Provider(ResourceProvider):
        def check(self, olds, news):
            if type(news.get("of")).__name__ != "Unknown" and news.get("of") != "by a":
                raise ValueError(repr(news))
            return CheckResult(news, [])
        def create(self, props):
            return CreateResult("x", props)
    a = Thing("a")
    class Its(Resource):
        pass
    Its(Provider(), "r", {"of": a.made})
    """
    assert stack.program(source).preview().succeeded
    stack.must_up()
    assert stack.state("r").outputs["of"] == "by a"
