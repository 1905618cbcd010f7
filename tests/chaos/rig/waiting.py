"""Waiting for conditions, with a bound."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

PATIENCE = float(os.environ.get("CHAOS_PATIENCE", "1"))
"""Multiplies every bound: for a machine that is busy with something else."""
A_WHILE = 45.0 * PATIENCE
"""Seconds for what is no subject of a test: a process that starts, a job that begins."""


def wait_for(condition: Callable[[], object], *, timeout: float = A_WHILE, what: str | Callable[[], str] = "") -> None:
    """Poll until `condition()` is true; `what` says in the failure what was waited for."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            told = what() if callable(what) else what
            raise AssertionError(f"not within {timeout:.0f} s: {told or 'the condition'}")
        time.sleep(0.03)
