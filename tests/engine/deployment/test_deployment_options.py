"""Resource options, with Pulumi's meaning of each."""

from __future__ import annotations

from typing import Any

import pytest

from infra.engine.urns import parse_urn


def test_ignored_changes_keep_the_old_value(stack: Any) -> None:
    program = 'Thing("a", size={n}, tags={{"x": {n}, "y": 1}}, opts=Opts(ignore_changes=["size", "tags.x"]))'
    stack.program(program.format(n=1)).must_up()
    assert stack.program(program.format(n=2)).must_up().changes == {"same": 2}
    assert stack.state("a").inputs["size"] == 1


def test_an_alias_renames_without_replacing(stack: Any) -> None:
    stack.program('a = Thing("a")\nThing("b", of=a.made)').must_up()
    result = stack.program(
        'a = Thing("new", opts=Opts(aliases=[pulumi.Alias(name="a")]))\nThing("b", of=a.made)'
    ).must_up()
    assert result.changes == {"same": 3}
    assert stack.state("new").id == "a-1"
    assert stack.names() == ["b", "new"]
    assert stack.state("b").dependencies == [stack.state("new").urn]


def test_a_renamed_component_takes_its_children_along(stack: Any) -> None:
    program = """
    group = Group("{name}", opts=Opts(aliases=[{aliases}]))
    Thing("{name}-inner", opts=Opts(parent=group))
    """
    stack.program(program.replace("{name}", "old").replace("{aliases}", "")).must_up()
    renamed = program.replace("{name}", "new").replace("{aliases}", 'pulumi.Alias(name="old")')
    assert stack.program(renamed).must_up().changes == {"same": 3}
    assert stack.names() == ["new", "new-inner"]
    assert stack.state("new-inner").id == "old-inner-1"


def test_an_alias_that_two_resources_claim_is_refused(stack: Any) -> None:
    stack.program('Thing("a")').must_up()
    result = stack.program(
        'Thing("b", opts=Opts(aliases=[pulumi.Alias(name="a")]))\n'
        'Thing("c", opts=Opts(aliases=[pulumi.Alias(name="a")]))'
    ).up()
    assert not result.succeeded
    assert "can be used once" in result.failures[0].message
    assert stack.names() == ["a"]


@pytest.mark.parametrize(
    ("after", "told"),
    [("", "would be deleted"), ('Thing("a", fixed=2, opts=Opts(protect=True))\nThing("b")', "would be replaced")],
)
def test_protected_resources_are_kept_and_nothing_else_is_touched(stack: Any, after: str, told: str) -> None:
    stack.program('Thing("a", fixed=1, opts=Opts(protect=True))').must_up()
    result = stack.program(after).up()
    assert not result.succeeded
    assert told in result.failures[0].message
    assert "protect=False" in result.failures[0].message
    assert stack.saves == []
    assert stack.names() == ["a"]
    assert {operation for operation, _ in stack.provider.calls} <= {"diff"}


def test_destroy_refuses_as_a_whole_when_something_is_protected(stack: Any) -> None:
    stack.program('Thing("a", opts=Opts(protect=True))\nThing("b")').must_up()
    result = stack.destroy()
    assert not result.succeeded
    assert stack.provider.calls == []
    assert stack.names() == ["a", "b"]


def test_children_inherit_protection(stack: Any) -> None:
    stack.program('g = Group("g", opts=Opts(protect=True))\nThing("a", opts=Opts(parent=g))').must_up()
    assert stack.state("a").protect


def test_what_is_retained_leaves_only_the_state(stack: Any) -> None:
    stack.program('Thing("a", opts=Opts(retain_on_delete=True))').must_up()
    assert stack.program("").must_up().changes == {"delete": 1, "same": 1}
    assert not stack.provider.names("delete")
    assert "retained" in stack.log.started("a").reason


def test_what_goes_with_another_is_not_deleted_by_itself(stack: Any) -> None:
    stack.program('a = Thing("a")\nThing("b", opts=Opts(deleted_with=a))').must_up()
    stack.program("").must_up()
    assert stack.provider.names("delete") == ["a"]
    assert stack.names() == []


def test_a_changed_replacement_trigger_replaces(stack: Any) -> None:
    program = 'Thing("a", opts=Opts(replacement_trigger="{n}"))'
    stack.program(program.format(n=1)).must_up()
    assert stack.must_up().changes == {"same": 2}
    assert stack.program(program.format(n=2)).must_up().changes == {"replace": 1, "same": 1}
    assert stack.log.started("a").reason == "its replacement trigger changed"


def test_a_secret_replacement_trigger_is_refused(stack: Any) -> None:
    result = stack.program('Thing("a", opts=Opts(replacement_trigger=Output.secret("x")))').up()
    assert "replacement_trigger is a secret" in result.failures[0].message


def test_replaced_with_another(stack: Any) -> None:
    program = 'a = Thing("a", fixed={n})\nThing("b", of=a.made, opts=Opts(replace_with=[a]))'
    stack.program(program.format(n=1)).must_up()
    assert stack.program(program.format(n=2)).must_up().changes == {"replace": 2, "same": 1}


def test_replace_on_changes(stack: Any) -> None:
    program = 'Thing("a", tags={{"x": {n}}}, opts=Opts(replace_on_changes=["tags.*"]))'
    stack.program(program.format(n=1)).must_up()
    assert stack.program(program.format(n=2)).must_up().changes == {"replace": 1, "same": 1}


def test_timeouts_reach_the_provider_in_seconds(stack: Any) -> None:
    stack.program('Thing("a", opts=Opts(custom_timeouts=CustomTimeouts(create="1m30s")))').must_up()
    assert stack.provider.seen[("create", "a")].timeout == 90
    assert stack.state("a").custom_timeouts == {"create": 90}


def test_additional_secret_outputs_are_secret_in_the_state_and_for_the_program(stack: Any) -> None:
    result = stack.program(
        'a = Thing("a", opts=Opts(additional_secret_outputs=["made"]))\npulumi.export("made", a.made)'
    ).must_up()
    assert repr(stack.state("a").outputs["made"]) == "Secret([secret])"
    assert repr(result.outputs["made"]) == "Secret([secret])"
    assert stack.log.outputs() == {"made": "[secret]"}


def test_import_is_refused_with_the_way_out(stack: Any) -> None:
    result = stack.program('Thing("a", opts=Opts(import_="i-1"))').up()
    assert "pulumi up" in result.failures[0].message
    assert stack.saves == []


def test_refused_inputs_stop_before_anything_is_made(stack: Any) -> None:
    result = stack.program('Thing("good")\nThing("a", bad=1)\nThing("b", bad=2)').up()
    assert sorted(failure.message for failure in result.failures) == [
        "the inputs of a are refused: bad: must not be",
        "the inputs of b are refused: bad: must not be",
    ]
    assert stack.saves == []


def test_packages_without_a_provider_are_named_before_anything_is_made(stack: Any) -> None:
    result = stack.program(
        """
        class Foreign(pulumi.CustomResource):
            def __init__(self, token, name):
                super().__init__(token, name, {}, None)
        Thing("a")
        Foreign("aws:s3/bucket:Bucket", "bucket")
        Foreign("docker:index/container:Container", "container")
        Foreign("random:index/randomPet:RandomPet", "pet")
        """
    ).up()
    assert len(result.failures) == 1
    message = result.failures[0].message
    assert "aws, docker, random:index/randomPet:RandomPet" in message
    assert "Install the Pulumi CLI" in message
    assert stack.saves == []
    assert not stack.provider.names("create")


def test_explicit_providers_configure_their_resources(stack: Any) -> None:
    seen = []

    def make(context: Any) -> Any:
        seen.append(dict(context.inputs))
        return stack.provider

    stack.registry.add("test", make)
    program = """
    class Its(pulumi.ProviderResource):
        def __init__(self, name, **props):
            super().__init__("test", name, props)
    its = Its("its", region="{region}")
    Thing("a", opts=Opts(provider=its))
    """
    stack.program(program.replace("{region}", "here")).must_up()
    assert {"region": "here"} in seen
    provider = stack.state("its")
    assert stack.state("a").provider == f"{provider.urn}::{provider.id}"
    assert stack.must_up().changes == {"same": 3}
    assert stack.program(program.replace("{region}", "there")).must_up().changes == {"update": 1, "same": 2}
    assert stack.state("its").id == provider.id
    assert not stack.provider.names("delete")


def test_an_explicit_provider_notes_its_plugins_version_as_pulumi_does(stack: Any) -> None:
    source = """
    import pulumi_random as random
    p = random.Provider("p")
    random.RandomId("u", byte_length=4, opts=Opts(provider=p))
    """
    stack.program(source).must_up()
    state = stack.state("p")
    assert set(state.inputs) == {"__internal", "version"}
    assert state.outputs == {"version": state.inputs["version"]}
    assert not any(resource.urn.endswith("::default") for resource in stack.snapshot.resources)


def test_all_options_stand_in_the_state_as_pulumi_writes_them(stack: Any) -> None:
    stack.program(
        """
        other = Thing("other")
        Thing("a", x=other.made, opts=Opts(
            protect=True, ignore_changes=["x"], replace_on_changes=["y"], hide_diffs=["z"], deleted_with=other,
            additional_secret_outputs=["made"], replacement_trigger="t",
        ))
        """
    ).must_up()
    state, other = stack.state("a"), stack.state("other").urn
    assert state.protect
    assert state.property_dependencies["x"] == [other]
    assert state.extra == {
        "ignoreChanges": ["x"],
        "replaceOnChanges": ["y"],
        "hideDiff": ["z"],
        "deletedWith": other,
        "replacementTrigger": "t",
    }
    assert parse_urn(state.provider.rsplit("::", 1)[0]).name == "default"


@pytest.mark.parametrize("alias", ["parent=pulumi.ROOT_STACK_RESOURCE", "parent=None"])
def test_a_resource_that_moves_into_a_component_is_the_same_one(stack: Any, alias: str) -> None:
    stack.program('a = Thing("a")\nThing("b", of=a.made)').must_up()
    moved = """
    g = Group("g")
    a = Thing("a", opts=Opts(parent=g, aliases=[pulumi.Alias({alias})]))
    Thing("b", of=a.made)
    """
    assert stack.program(moved.replace("{alias}", alias)).must_up().changes == {"create": 1, "same": 3}
    assert stack.state("a").id == "a-1"
    assert stack.state("a").parent == stack.state("g").urn


def test_parameterized_packages_are_named_as_missing(stack: Any) -> None:
    source = """
    from pulumi.runtime.settings import register_package
    class Its(pulumi.CustomResource):
        def __init__(self):
            package = register_package("terraform-provider", "1.0.0", "", "hcloud", "2.0.0", "e30=")
            super().__init__("hcloud:index/server:Server", "server", {}, None, False, package)
    Its()
    """
    result = stack.program(source).up()
    assert "only the Pulumi CLI can run: hcloud" in result.failures[0].message


def test_methods_of_components_need_the_cli(stack: Any) -> None:
    result = stack.program('g = Group("g")\npulumi.runtime.call("test:index:Group/ask", {}, g)').up()
    assert "calls the method test:index:Group/ask" in result.failures[0].message


def test_functions_of_providers_that_are_there_are_called(stack: Any) -> None:
    stack.provider.invoke = lambda token, args: {"token": token, "echo": args["x"]}
    source = """
    found = pulumi.runtime.invoke_output("test:index:find", {"x": Output.secret("s")})
    pulumi.export("found", found)
    """
    result = stack.program(source).must_up()
    assert repr(result.outputs["found"]) == "Secret([secret])"
    missing = stack.program('pulumi.runtime.invoke("aws:index/getZones:getZones", {})').up()
    assert "aws:index/getZones:getZones, which needs a provider plugin" in missing.failures[0].message
