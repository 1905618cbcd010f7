"""Rules between several keys: each a function from the settings to what is broken, with the reason in the message."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from infra.settings.invariants import capacity, placement, predictions, rds, safety, sizes, timing, unused, urls
from infra.settings.invariants.broken import Broken, Context, Found
from infra.settings.tree import Settings

RULES: Final[tuple[Callable[[Context], Found], ...]] = (
    *(*placement.RULES, *sizes.RULES, *capacity.RULES, *timing.RULES, *safety.RULES),
    *(*rds.RULES, *unused.RULES, *urls.RULES, *predictions.RULES),
)


def check(settings: Settings, tree: Mapping[str, Any]) -> Iterator[Broken]:
    """Every rule that `settings` breaks. `tree` is what the stack file itself says."""
    context = Context(settings, tree)
    for rule in RULES:
        yield from rule(context)
