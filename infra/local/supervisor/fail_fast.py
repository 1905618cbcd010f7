"""A task that ends unexpectedly ends its supervisor: one that no longer watches a replica would call it healthy for
ever. The end is that of a SIGTERM, so that the service stops in order; the reason is in ``supervisor.log``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from typing import Any


def watch(task: asyncio.Task[Any]) -> None:
    """Not for a task whose error somebody waits for."""
    task.add_done_callback(_ended)


def _ended(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        print("a task ended unexpectedly, the supervisor ends:", file=sys.stderr)
        traceback.print_exception(error)
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGTERM)
