"""The price of doing nothing."""

from __future__ import annotations

import time
from typing import Any

NOTHING_TO_DO_SECONDS = 0.3
"""For about thirty resources, beyond importing the SDK."""


def test_nothing_to_do_is_quick(stack: Any, in_background: Any) -> None:
    stack.program('for i in range(30):\n    Thing(f"t{i}", size=i, tags={"a": [1, 2, {"b": i}]})').must_up()
    times = []
    for _ in range(3):
        began = time.perf_counter()
        # In a thread of its own: the SDK walks the whole call stack for each resource, and that of pytest is deep.
        assert in_background(stack.must_up)().changes == {"same": 31}
        times.append(time.perf_counter() - began)
    assert min(times) < NOTHING_TO_DO_SECONDS, times
