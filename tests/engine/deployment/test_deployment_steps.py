"""What an `up` does to each resource: nothing, create, update, replace, delete; and in which order."""

from __future__ import annotations

import shutil
from typing import Any

from infra.engine.providers.base import DiffResult
from infra.engine.urns import parse_urn

CHAIN = """
a = Thing("a", size=1)
b = Thing("b", of=a.made)
c = Thing("c", opts=Opts(depends_on=[a]))
pulumi.export("b", b.made)
"""


def test_creates_what_is_new_then_changes_nothing(stack: Any) -> None:
    result = stack.program(CHAIN).must_up()
    assert result.changes == {"create": 4}
    assert stack.state("b").inputs["of"] == "by a"
    assert result.outputs == {"b": "by b"}
    assert stack.state("a").id == "a-1"
    assert stack.log.steps()[-1] == ("create", "proj-dev")
    again = stack.must_up()
    assert again.changes == {"same": 4}
    assert stack.saves == []
    assert set(stack.provider.names("diff")) == {"a", "b", "c"}


def test_preview_changes_nothing_and_knows_no_outputs(stack: Any) -> None:
    result = stack.program(CHAIN).preview()
    assert result.changes == {"create": 4}
    assert stack.saves == []
    assert not stack.provider.names("create")
    assert stack.log.outputs() == {"b": "[unknown]"}


def test_updates_in_place_and_names_the_changed_property(stack: Any) -> None:
    stack.program(CHAIN).must_up()
    result = stack.program(CHAIN.replace("size=1", "size=2")).must_up()
    assert result.changes == {"update": 2, "same": 2}
    changes = stack.log.started("a").changes
    assert [(c.path, c.kind, c.old, c.new) for c in changes] == [("size", "update", 1, 2)]
    assert stack.state("a").id == "a-1"
    assert stack.state("b").inputs["of"] == "by a, again"


def test_replaces_by_creating_first_and_deleting_at_the_end(stack: Any) -> None:
    program = 'a = Thing("a", fixed={n})\nb = Thing("b", of=a.id)'
    stack.program(program.format(n=1)).must_up()
    result = stack.program(program.format(n=2)).must_up()
    assert result.changes == {"replace": 1, "update": 1, "same": 1}
    operations = [call for call in stack.provider.calls if call[0] not in ("diff",)]
    assert operations == [("create", "a"), ("update", "b"), ("delete", "a")]
    assert stack.provider.seen[("delete", "a")].id == "a-1"
    assert stack.log.started("a").changes[0].forces_replacement
    assert len([r for r in stack.snapshot.resources if parse_urn(r.urn).name == "a"]) == 1


def test_deletes_first_with_the_dependents_that_use_its_properties(stack: Any) -> None:
    program = """
    a = Thing("a", fixed_first={n})
    user = Thing("user", fixed=a.id)
    changer = Thing("changer", of=a.id)
    after = Thing("after", opts=Opts(depends_on=[a]))
    """
    stack.program(program.format(n=1)).must_up()
    result = stack.program(program.format(n=2)).must_up()
    assert result.changes == {"replace": 2, "update": 1, "same": 2}
    operations = [call for call in stack.provider.calls if call[0] != "diff"]
    assert operations[:3] == [("delete", "user"), ("delete", "a"), ("create", "a")]
    assert set(operations[3:]) == {("create", "user"), ("update", "changer")}
    assert not any(resource.pending_replacement for resource in stack.snapshot.resources)


def test_delete_before_replace_of_the_program_wins_over_the_provider(stack: Any) -> None:
    program = 'Thing("a", fixed={n}, opts=Opts(delete_before_replace=True))'
    stack.program(program.format(n=1)).must_up()
    stack.program(program.format(n=2)).must_up()
    assert [call[0] for call in stack.provider.calls if call[0] != "diff"] == ["delete", "create"]


def test_a_preview_foresees_a_replacement_with_its_dependents(stack: Any) -> None:
    program = 'a = Thing("a", fixed_first={n})\nThing("user", fixed=a.id)'
    stack.program(program.format(n=1)).must_up()
    result = stack.program(program.format(n=2)).preview()
    assert result.changes == {"replace": 2, "same": 1}
    assert not stack.provider.names("delete")


def test_deletes_what_is_gone_from_the_program_dependents_first(stack: Any) -> None:
    stack.program(CHAIN).must_up()
    result = stack.program("").must_up()
    assert result.changes == {"delete": 3, "same": 1}
    assert stack.provider.names("delete")[-1] == "a"
    assert stack.names() == []
    # The default provider had no users left.
    assert [resource.type for resource in stack.snapshot.resources] == ["pulumi:pulumi:Stack"]


def test_destroy_removes_all_without_running_the_program(stack: Any) -> None:
    stack.program(CHAIN).must_up()
    shutil.rmtree(stack.main)
    result = stack.destroy()
    assert result.succeeded
    assert result.changes == {"delete": 4}
    assert stack.snapshot.resources == []


def test_a_difference_that_no_property_shows_has_its_reason(stack: Any) -> None:
    stack.program('Thing("a")').must_up()
    stack.provider.diffs["a"] = DiffResult(changes=True)
    result = stack.must_up()
    assert result.changes == {"update": 1, "same": 1}
    started = stack.log.started("a")
    assert started.changes == ()
    assert started.reason == "its provider reports that it is not as recorded"


def test_a_provider_may_want_a_replacement_for_what_it_alone_sees(stack: Any) -> None:
    stack.program('Thing("a")').must_up()
    stack.provider.diffs["a"] = DiffResult(changes=True, replaces=("pid",))
    stack.must_up()
    assert stack.log.started("a").reason == "its provider asks for it because of pid"


def test_two_resources_with_one_name_are_refused_before_anything_is_made(stack: Any) -> None:
    result = stack.program('Thing("a")\nThing("a")').up()
    assert not result.succeeded
    assert "twice" in result.failures[0].message
    assert stack.names() == []


def test_components_are_parents_and_keep_their_outputs(stack: Any) -> None:
    stack.program(
        """
        group = Group("g", note="x")
        Thing("inner", opts=Opts(parent=group))
        group.register_outputs({"answer": 42})
        """
    ).must_up()
    assert stack.state("g").outputs == {"answer": 42}
    assert stack.state("inner").urn == "urn:pulumi:dev::proj::test:index:Group$test:index:Thing::inner"
    assert ("create", "g") in stack.log.steps()
    assert stack.must_up().changes == {"same": 3}


def test_resources_that_are_read_are_not_deleted(stack: Any) -> None:
    program = """
    class Known(pulumi.CustomResource):
        made: pulumi.Output[str]
        def __init__(self, name, id):
            super().__init__("test:index:Thing", name, {"made": None}, Opts(id=id))
    known = Known("known", "{id}")
    pulumi.export("made", known.made)
    """
    result = stack.program(program.replace("{id}", "i-1")).must_up()
    assert result.outputs == {"made": "read i-1"}
    assert stack.state("known").external
    missing = stack.program(program.replace("{id}", "gone")).up()
    assert "there is no test:index:Thing with the id 'gone'" in missing.failures[0].message
    assert stack.destroy().succeeded
    assert not stack.provider.names("delete")


def test_what_was_made_and_is_now_only_read_is_deleted(stack: Any) -> None:
    stack.program('Thing("a")').must_up()
    stack.program('Thing("a", opts=Opts(id="i-7"))').must_up()
    assert stack.provider.names("delete") == ["a"]
    assert stack.provider.seen[("delete", "a")].id == "a-1"
    assert stack.state("a").id == "i-7"
    stack.program('Thing("a")').must_up()
    assert stack.state("a").id == "a-2"
    assert stack.provider.names("delete") == []
