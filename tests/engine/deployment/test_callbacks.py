"""Hooks and transforms: the engine's calls back into the program."""

from __future__ import annotations

from typing import Any

HOOKED = """
from pathlib import Path

def note(args):
    with Path("hooks.log").open("a") as log:
        inputs, outputs = args.new_inputs or {}, args.new_outputs or {}
        log.write(f"{args.name}:{args.id}:{inputs.get('size')}:{outputs.get('made')}\\n")

def broken(args):
    raise ValueError("not today")

def hook(name, what, **options):
    return pulumi.ResourceHook(name, what, opts=pulumi.ResourceHookOptions(**options))
"""


def notes(stack: Any) -> list[str]:
    file = stack.main / "hooks.log"
    return file.read_text().splitlines() if file.exists() else []


def test_hooks_run_around_each_operation_and_not_in_previews(stack: Any) -> None:
    program = HOOKED + (
        'n = hook("n", note)\n'
        "kinds = ['before_create', 'after_create', 'before_update', 'after_update']\n"
        "binding = pulumi.ResourceHookBinding(**{kind: [n] for kind in kinds})\n"
        'Thing("a", size={n}, opts=Opts(hooks=binding))'
    )
    source = program.replace("{n}", "1")
    stack.program(source).preview()
    assert notes(stack) == []
    stack.must_up()
    stack.program(program.replace("{n}", "2")).must_up()
    assert notes(stack) == [
        "a::1.0:None",
        "a:a-1:1.0:by a",
        "a:a-1:2.0:None",
        "a:a-1:2.0:by a, again",
    ]
    assert stack.state("a").extra["resourceHooks"] == {
        "BeforeCreate": ["n"],
        "AfterCreate": ["n"],
        "BeforeUpdate": ["n"],
        "AfterUpdate": ["n"],
    }


def test_a_failing_hook_before_stops_the_operation(stack: Any) -> None:
    source = HOOKED + ('Thing("a", opts=Opts(hooks=pulumi.ResourceHookBinding(before_create=[hook("b", broken)])))')
    result = stack.program(source).up()
    assert result.failures[0].message == "hook 'b' failed: not today"
    assert stack.names() == []
    assert not stack.provider.names("create")


def test_a_failing_hook_after_fails_the_run_and_keeps_the_resource(stack: Any) -> None:
    source = HOOKED + 'Thing("a", opts=Opts(hooks=pulumi.ResourceHookBinding(after_create=[hook("b", broken)])))'
    result = stack.program(source).up()
    assert not result.succeeded
    assert stack.names() == ["a"]
    assert stack.must_up().changes == {"same": 2}


def test_a_hook_whose_errors_are_ignored_only_warns(stack: Any) -> None:
    source = HOOKED + (
        'h = hook("b", broken, ignore_errors=True)\n'
        'Thing("a", opts=Opts(hooks=pulumi.ResourceHookBinding(before_create=[h])))'
    )
    assert stack.program(source).up().succeeded
    assert stack.log.messages("warning") == ["hook 'b' failed: not today"]


def test_a_hook_may_ask_to_run_in_previews(stack: Any) -> None:
    source = HOOKED + (
        'h = hook("b", note, on_dry_run=True)\n'
        'Thing("a", size=1, opts=Opts(hooks=pulumi.ResourceHookBinding(before_create=[h])))'
    )
    assert stack.program(source).preview().succeeded
    assert notes(stack) == ["a::1.0:None"]


def test_delete_hooks_run_in_up_and_in_destroy(stack: Any) -> None:
    source = HOOKED + 'h = hook("d", note)\n{things}'
    thing = 'Thing("{name}", opts=Opts(hooks=pulumi.ResourceHookBinding(before_delete=[h])))\n'
    both = source.replace("{things}", thing.replace("{name}", "a") + thing.replace("{name}", "b"))
    stack.program(both).must_up()
    stack.program(source.replace("{things}", thing.replace("{name}", "a"))).must_up()
    assert [line.split(":")[0] for line in notes(stack)] == ["b"]
    assert stack.destroy().succeeded
    assert [line.split(":")[0] for line in notes(stack)] == ["b", "a"]
    assert stack.snapshot.resources == []


def test_an_error_hook_may_try_again(stack: Any) -> None:
    source = HOOKED + (
        'again = pulumi.ErrorHook("again", lambda args: len(args.errors) < 3)\n'
        'Thing("a", fail="create", opts=Opts(hooks=pulumi.ResourceHookBinding(on_error=[again])))'
    )
    result = stack.program(source).up()
    assert not result.succeeded
    assert stack.provider.names("create") == ["a", "a", "a"]
    assert len(stack.log.messages("warning")) == 2


def test_transforms_of_the_stack_of_parents_and_of_the_resource(stack: Any) -> None:
    source = """
    def adding(key, value):
        def transform(args):
            if args.type_ != "test:index:Thing":
                return None
            trace = [*args.props.get("trace", []), value]
            return pulumi.ResourceTransformResult(props={**args.props, key: value, "trace": trace}, opts=args.opts)
        return transform
    def protecting(args):
        return pulumi.ResourceTransformResult(
            props=args.props, opts=pulumi.ResourceOptions.merge(args.opts, Opts(retain_on_delete=True)))
    pulumi.runtime.register_resource_transform(adding("stack", 1))
    g = Group("g", opts=Opts(transforms=[adding("parent", 2)]))
    Thing("a", size=5, opts=Opts(parent=g, transforms=[adding("own", 3), protecting]))
    Thing("b")
    """
    stack.program(source).must_up()
    inputs = stack.state("a").inputs
    assert {key: inputs[key] for key in ("stack", "parent", "own", "size", "trace")} == {
        "stack": 1,
        "parent": 2,
        "own": 3,
        "size": 5,
        "trace": [3, 2, 1],
    }
    assert stack.state("a").retain_on_delete
    assert stack.state("b").inputs["trace"] == [1]
    assert stack.plan().find("test:index:Thing", "b").inputs["stack"] == 1


def test_a_failing_transform_is_told(stack: Any) -> None:
    source = """
    def broken(args):
        raise ValueError("not like this")
    pulumi.runtime.register_resource_transform(broken)
    Thing("a")
    """
    result = stack.program(source).up()
    assert "not like this" in result.failures[0].message
    assert stack.names() == []
