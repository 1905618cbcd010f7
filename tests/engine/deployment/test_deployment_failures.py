"""When something fails in the middle: what was made is kept, and the next `up` goes on from there."""

from __future__ import annotations

import threading
from copy import deepcopy
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from infra.engine.display.events import DeploymentFinished
from infra.engine.errors import StateError
from infra.engine.state.snapshot import PendingOperation


def test_a_failed_create_keeps_what_was_made_and_the_next_up_goes_on(stack: Any) -> None:
    program = 'a = Thing("a")\nb = Thing("b", of=a.made)\nThing("c", of=b.made)\npulumi.export("x", b.made)'
    stack.program(program)
    stack.provider.failing.add(("create", "b"))
    result = stack.up()
    assert not result.succeeded
    assert [(f.urn and f.urn.rpartition("::")[2], f.message) for f in result.failures] == [
        ("b", "RuntimeError: no create today")
    ]
    assert stack.names() == ["a"]
    assert stack.provider.names("create") == ["a", "b"]
    assert stack.snapshot.pending == []
    stack.provider.failing.clear()
    assert stack.must_up().changes == {"create": 2, "same": 2}


def test_what_is_under_way_finishes_and_nothing_new_begins(stack: Any, in_background: Any) -> None:
    slow = stack.provider.gate("create", "slow")
    stack.provider.gate("create", "broken")
    stack.program('slow = Thing("slow")\nThing("broken", fail="create")\nThing("after", of=slow.made)')
    wait = in_background(stack.up)
    assert stack.provider.reached[("create", "slow")].wait(10)
    assert stack.provider.reached[("create", "broken")].wait(10)
    stack.provider.gates[("create", "broken")].set()
    while not stack.log.failed():
        threading.Event().wait(0.005)
    slow.set()
    result = wait()
    assert not result.succeeded
    assert stack.names() == ["slow"]
    assert stack.provider.names("create").count("after") == 0


def test_independent_creates_run_at_once(stack: Any, in_background: Any) -> None:
    gates = [stack.provider.gate("create", name) for name in "abc"]
    stack.program("\n".join(f'Thing("{name}")' for name in "abc"))
    wait = in_background(stack.up)
    for name in "abc":
        assert stack.provider.reached[("create", name)].wait(10)
    for gate in gates:
        gate.set()
    assert wait().succeeded


def test_cancelling_from_another_thread_ends_the_run_in_order(stack: Any, in_background: Any) -> None:
    gate = stack.provider.gate("create", "a")
    deployment = stack.program('a = Thing("a")\nThing("b", of=a.made)').deployment()
    wait = in_background(deployment.up)
    assert stack.provider.reached[("create", "a")].wait(10)
    deployment.cancel()
    gate.set()
    result = wait()
    assert result.interrupted
    assert not result.succeeded
    assert result.failures == ()
    stack.snapshot = deployment.snapshot
    assert stack.names() == ["a"]


def test_a_failed_update_keeps_the_old_inputs_and_is_tried_again(stack: Any) -> None:
    stack.program('Thing("a", size=1)').must_up()
    stack.provider.failing.add(("update", "a"))
    stack.program('Thing("a", size=2)').up()
    state = stack.state("a")
    assert state.inputs["size"] == 1
    assert state.init_errors == ["RuntimeError: no update today"]
    stack.provider.failing.clear()
    # Back to what the state says: it may be half changed all the same.
    result = stack.program('Thing("a", size=1)').must_up()
    assert result.changes == {"update": 1, "same": 1}
    assert stack.log.started("a").reason == "the last change failed: RuntimeError: no update today"
    assert stack.state("a").init_errors == []


def test_nothing_is_deleted_when_something_failed(stack: Any) -> None:
    stack.program('Thing("old")').must_up()
    stack.provider.failing.add(("create", "new"))
    assert not stack.program('Thing("new")').up().succeeded
    assert stack.names() == ["old"]
    assert not stack.provider.names("delete")


def test_a_failed_delete_of_a_replaced_resource_is_tried_again(stack: Any) -> None:
    stack.program('Thing("a", fixed=1)').must_up()
    stack.provider.failing.add(("delete", "a"))
    assert not stack.program('Thing("a", fixed=2)').up().succeeded
    assert [r.delete for r in stack.snapshot.resources if r.type == "test:index:Thing"] == [False, True]
    stack.provider.failing.clear()
    assert stack.must_up().changes == {"same": 2}
    assert stack.provider.seen[("delete", "a")].id == "a-1"
    assert stack.names() == ["a"]


def test_a_replacement_that_lost_its_old_self_first_is_completed_later(stack: Any) -> None:
    stack.program('Thing("a", fixed_first=1)').must_up()
    stack.provider.failing.add(("create", "a"))
    assert not stack.program('Thing("a", fixed_first=2)').up().succeeded
    assert stack.state("a").pending_replacement
    stack.provider.failing.clear()
    assert stack.must_up().changes == {"replace": 1, "same": 1}
    assert not stack.provider.names("delete")
    assert not stack.state("a").pending_replacement


def test_a_replacement_that_is_no_longer_wanted_leaves_nothing(stack: Any) -> None:
    stack.program('Thing("a", fixed_first=1)').must_up()
    stack.provider.failing.add(("create", "a"))
    stack.program('Thing("a", fixed_first=2)').up()
    stack.program("").must_up()
    assert stack.names() == []
    assert not stack.provider.names("delete")


def test_old_stack_outputs_stay_when_the_new_ones_are_not_known(stack: Any) -> None:
    stack.program('a = Thing("a", size=1)\npulumi.export("made", a.made)').must_up()
    stack.provider.failing.add(("update", "a"))
    stack.program('a = Thing("a", size=2)\npulumi.export("made", a.made)').up()
    assert stack.snapshot.outputs == {"made": "by a"}


def test_every_operation_is_noted_before_it_begins(stack: Any) -> None:
    stack.program('Thing("a", size=1)').must_up()
    assert [(p.kind, p.resource.urn.rpartition("::")[2]) for s in stack.saves for p in s.pending] == [("creating", "a")]
    stack.program('Thing("a", size=2)').must_up()
    assert [p.kind for s in stack.saves for p in s.pending] == ["updating"]
    stack.program("").must_up()
    assert [p.kind for s in stack.saves for p in s.pending] == ["deleting"]


@pytest.mark.parametrize("moment", range(12))
def test_from_every_saved_state_the_next_up_arrives(stack: Any, moment: int) -> None:
    before = 'a = Thing("a", fixed=1)\nb = Thing("b", fixed_first=a.id)\nThing("c", of=b.made)\nThing("gone")'
    after = 'a = Thing("a", fixed=2)\nb = Thing("b", fixed_first=a.id)\nThing("c", of=b.made)\nThing("new")'
    stack.program(before).must_up()
    stack.program(after).must_up()
    if moment >= len(stack.saves):
        pytest.skip(f"the run saved {len(stack.saves)} states")
    stack.snapshot = stack.saves[moment]
    cut_short = [pending.kind for pending in stack.snapshot.pending]
    stack.must_up()
    assert stack.names() == ["a", "b", "c", "new"]
    assert stack.snapshot.pending == []
    assert not any(resource.delete or resource.pending_replacement for resource in stack.snapshot.resources)
    assert len(stack.log.messages("warning")) == len(cut_short)
    assert stack.must_up().changes == {"same": 5}


def test_a_state_that_cannot_be_written_stops_the_run(stack: Any) -> None:
    deployment = stack.program('a = Thing("a")\nThing("b", of=a.made)').deployment()
    full = 0

    def save(snapshot: Any) -> None:
        nonlocal full
        if len(snapshot.resources) > 2:
            full += 1
            raise StateError("the disk is full")

    deployment._save = save
    result = deployment.up()
    assert [failure.message for failure in result.failures] == ["the disk is full"]
    assert stack.provider.names("create") == ["a"]
    # Once when the resource was made, and once more at the end.
    assert full == 2


def test_a_reader_that_is_gone_does_not_stop_the_run(stack: Any) -> None:
    class Pipe:
        def __init__(self) -> None:
            self.lines = 0

        def emit(self, event: Any) -> None:
            self.lines += 1
            if self.lines > 3:
                raise BrokenPipeError

    deployment = stack.program('a = Thing("a")\nThing("b", of=a.made)').deployment()
    deployment._sink = Pipe()
    assert deployment.up().succeeded
    assert deployment._sink.lines == 4


def test_a_fault_of_the_engine_ends_the_display_and_goes_on_to_the_caller(stack: Any) -> None:
    deployment = stack.program('Thing("a")').deployment()

    def save(snapshot: Any) -> None:
        raise ZeroDivisionError

    deployment._save = save
    with pytest.raises(ZeroDivisionError):
        deployment.up()
    assert isinstance(stack.log.events[-1], DeploymentFinished)


def test_a_program_that_raises_shows_its_own_lines(stack: Any) -> None:
    result = stack.program('Thing("a")\ndef inner():\n    raise KeyError("missing thing")\ninner()').up()
    message = result.failures[0].message
    assert message.startswith("the program failed:")
    assert "in inner" in message
    assert "KeyError: 'missing thing'" in message
    assert "infra/engine" not in message


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            "class Bad(Exception):\n    user_facing = True\nraise Bad('api.replicas: must be at least 1')",
            "api.replicas",
        ),
        ("raise SystemExit('no target')", "no target"),
        ("raise SystemExit(3)", "exited with code 3"),
        ("raise pulumi.RunError('cannot be')", "cannot be"),
    ],
)
def test_errors_meant_for_the_user_come_as_they_are(stack: Any, source: str, told: str) -> None:
    result = stack.program(source).up()
    assert told in result.failures[0].message
    assert "Traceback" not in result.failures[0].message


def test_an_error_in_an_apply_fails_the_run_and_keeps_what_was_made(stack: Any) -> None:
    result = stack.program('a = Thing("a")\na.made.apply(lambda made: 1 / 0)').up()
    assert not result.succeeded
    assert "ZeroDivisionError" in result.failures[0].message
    assert stack.names() == ["a"]


@pytest.mark.parametrize(("made", "told"), [(True, False), (False, True)])
def test_what_was_being_created_and_is_there_is_not_told_as_cut_short(stack: Any, made: bool, told: bool) -> None:
    """The Pulumi CLI makes what a killed run was making, and keeps that run's note in the state."""
    stack.program("Thing('a', size=1)").must_up()
    stack.snapshot.pending.append(PendingOperation(resource=deepcopy(stack.state("a")), kind="creating"))
    if not made:
        # The note is of a successor, whose making was cut short: what is there is its predecessor.
        stack.snapshot.pending[0].resource.inputs["size"] = 2
    stack.must_up()
    assert any("cut short" in message for message in stack.log.messages("warning")) == told
    assert stack.snapshot.pending == []


def test_times_in_the_state_are_written_as_go_writes_them(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CLI cuts zeros at the end of a fraction, and would rewrite each."""
    moments = iter([datetime(2026, 1, 2, 3, 4, 5, micro, tzinfo=UTC) for micro in (0, 500_000, 123_450, 1)] * 9)
    monkeypatch.setattr("infra.engine.state.snapshot_manager.datetime", SimpleNamespace(now=lambda _: next(moments)))
    stack.program("for name in 'abcd': Thing(name)").must_up()
    times = {stack.state(name).created for name in "abcd"} | {stack.state(name).modified for name in "abcd"}
    assert {str(time).removeprefix("2026-01-02T03:04:05") for time in times} <= {"Z", ".5Z", ".12345Z", ".000001Z"}
