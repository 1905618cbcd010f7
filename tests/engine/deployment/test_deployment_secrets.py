"""Secrets stay secret from the program to the state, in plans, events and outputs; and providers see them bare."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from infra.engine.values import Secret

PLANTED = "hunter2-planted"

PROGRAM = """
token = pulumi.Config().require_secret("token")
a = Thing("a",
    token=token,
    url=Output.concat("postgres://app:", token, "@db"),
    env=Output.json_dumps({"TOKEN": token, "n": 1}),
    nested={"list": [token, "plain"], "deep": {"x": token.apply(lambda t: t + "!")}},
    size=1)
Thing("b", of=a.url, made_of=a.made)
g = Group("g", note=token)
g.register_outputs({"url": a.url})
pulumi.export("url", a.url)
pulumi.export("size", a.size if hasattr(a, "size") else 1)
"""


def leaves(value: Any, *, bare: bool = True) -> Iterator[tuple[Any, bool]]:
    """All values inside, each with whether it is bare."""
    if isinstance(value, Secret):
        yield from leaves(value.value, bare=False)
    elif isinstance(value, dict):
        for item in value.values():
            yield from leaves(item, bare=bare)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, bare=bare)
    else:
        yield value, bare


def plant(stack: Any) -> Any:
    stack.config["proj:token"] = PLANTED
    stack.secret_keys.add("proj:token")
    return stack.program(PROGRAM)


def test_no_plan_shows_a_secret(stack: Any) -> None:
    shown = json.dumps(plant(stack).plan().to_json())
    assert PLANTED not in shown
    planned = stack.plan().find("test:index:Thing", "a").to_json()
    assert planned["inputs"]["url"] == "[secret]"
    assert planned["inputs"]["env"] == "[secret]"
    assert planned["inputs"]["size"] == 1
    assert planned["inputs"]["nested"]["list"] == ["[secret]", "plain"]


def test_the_state_has_it_only_inside_secrets(stack: Any) -> None:
    plant(stack).must_up()
    for snapshot in stack.saves:
        states = [*snapshot.resources, *(pending.resource for pending in snapshot.pending)]
        for state in states:
            for values in (state.inputs, state.outputs):
                bare = [text for text, is_bare in leaves(values) if is_bare and isinstance(text, str)]
                assert not [text for text in bare if PLANTED in text], state.urn
    assert isinstance(stack.state("a").outputs["url"], Secret)
    assert isinstance(stack.state("b").inputs["of"], Secret)
    assert stack.state("a").outputs["size"] == 1
    assert isinstance(stack.snapshot.outputs["url"], Secret)


def test_the_provider_sees_it_bare(stack: Any) -> None:
    plant(stack).must_up()
    call = stack.provider.seen[("create", "a")]
    assert call.inputs["url"] == f"postgres://app:{PLANTED}@db"
    assert json.loads(call.inputs["env"])["TOKEN"] == PLANTED
    assert call.inputs["nested"]["list"] == [PLANTED, "plain"]


def test_no_event_shows_it_also_when_it_changes(stack: Any) -> None:
    plant(stack).must_up()
    stack.config["proj:token"] = f"{PLANTED}-new"
    assert stack.preview().succeeded
    assert PLANTED not in repr(stack.log.events)
    stack.must_up()
    assert PLANTED not in repr(stack.log.events)
    paths = {(change.path, change.old, change.new) for change in stack.log.started("a").changes}
    assert ("token", "[secret]", "[secret]") in paths
    assert ("nested.list", "[secret]", "[secret]") in paths


def test_no_message_of_a_provider_shows_it(stack: Any) -> None:
    def refuse(call: Any) -> Any:
        raise RuntimeError(f"cannot connect to {call.inputs['url']} with {call.inputs['token']}")

    stack.provider.create = refuse
    result = plant(stack).up()
    assert not result.succeeded
    assert result.failures[0].message == "RuntimeError: cannot connect to [secret] with [secret]"
    assert PLANTED not in repr(stack.log.events)


def test_a_value_that_was_secret_is_not_shown_when_it_becomes_plain(stack: Any) -> None:
    stack.config["proj:token"] = PLANTED
    stack.secret_keys.add("proj:token")
    stack.program('Thing("a", x=pulumi.Config().require_secret("token"))').must_up()
    stack.program('Thing("a", x="open")').preview()
    assert PLANTED not in repr(stack.log.events)


def test_only_the_mark_changing_is_no_difference(stack: Any) -> None:
    stack.program('Thing("a", x="same")').must_up()
    assert stack.program('Thing("a", x=Output.secret("same"))').must_up().changes == {"same": 2}
    assert stack.state("a").inputs["x"] == Secret("same")
