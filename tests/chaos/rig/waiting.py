"""Waiting for conditions, with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 30.0
"""Seconds for what is no subject of a test: a process that starts, a job that begins."""


def wait_for(condition: Callable[[], object], *, timeout: float = PATIENCE, what: str | Callable[[], str] = "") -> None:
    """Poll until `condition()` is true; `what` says in the failure what was waited for."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            told = what() if callable(what) else what
            raise AssertionError(f"not within {timeout:.0f} s: {told or 'the condition'}")
        time.sleep(0.03)
