"""Histories nobody thought of: random programs, random failures, random kills, and always a good end."""

from __future__ import annotations

import random
from typing import Any

import pytest

NAMES = "abcdefg"
OPTIONS = ("", "delete_before_replace=True", "retain_on_delete=True")


def program(chance: random.Random) -> str:
    """Some resources, each made from some of those before it."""
    lines: list[str] = []
    made: list[str] = []
    for name in NAMES:
        if chance.random() < 0.25:
            continue
        arguments = [f"size={chance.randrange(2)}"]
        if made and chance.random() < 0.7:
            key = chance.choice(["of", "fixed", "fixed_first"])
            arguments.append(f"{key}={chance.choice(made)}.{chance.choice(['id', 'made'])}")
        elif chance.random() < 0.5:
            arguments.append(f"{chance.choice(['fixed', 'fixed_first'])}={chance.randrange(2)}")
        options = [chance.choice(OPTIONS)]
        if made and chance.random() < 0.3:
            options.append(f"depends_on=[{chance.choice(made)}]")
        arguments.append(f"opts=Opts({', '.join(filter(None, options))})")
        lines.append(f'{name} = Thing("{name}", {", ".join(arguments)})')
        made.append(name)
    lines.append(f"pulumi.export('all', [{', '.join(f'{name}.id' for name in made)}])")
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(12))
def test_every_history_ends_well(stack: Any, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(6):
        source = program(chance)
        operations = [(operation, name) for operation in ("create", "update", "delete") for name in NAMES]
        stack.provider.failing = set(chance.sample(operations, chance.choice([0, 0, 1, 3])))
        stack.program(source).up()
        if stack.saves and chance.random() < 0.4:
            # As if the run had been killed there.
            stack.snapshot = chance.choice(stack.saves)
    stack.provider.failing = set()
    stack.must_up()
    wanted = sorted(line[0] for line in source.splitlines() if "Thing(" in line)
    assert stack.names() == wanted
    assert stack.snapshot.pending == []
    assert not any(r.delete or r.pending_replacement or r.init_errors for r in stack.snapshot.resources)
    ids = {stack.state(name).id for name in wanted}
    assert set(stack.snapshot.outputs["all"]) == ids
    assert stack.must_up().changes == {"same": len(wanted) + 1}
    assert stack.destroy().succeeded
    assert stack.snapshot.resources == []
