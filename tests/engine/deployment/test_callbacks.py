"""Hooks: the engine's calls back into the program. Transforms, the SDK's other callbacks, are refused."""

from __future__ import annotations

from typing import Any

import pytest

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


@pytest.mark.parametrize(
    ("use", "refusal"),
    [
        ("pulumi.runtime.register_resource_transform(same)", "the program registers a transform: use the Pulumi CLI"),
        (
            'Thing("a", opts=Opts(transforms=[same]))',
            "test:index:Thing 'a' uses transforms, which the engine in process does not have: use the Pulumi CLI",
        ),
    ],
)
def test_transforms_are_refused_and_not_dropped(stack: Any, use: str, refusal: str) -> None:
    result = stack.program(f"def same(args):\n    return None\n{use}").up()
    assert [failure.message for failure in result.failures] == [refusal]
    assert stack.names() == []
