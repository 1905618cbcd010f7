"""Makes the application misbehave from within. Python imports this module by its name, before anything else.

What to do comes from the environment, and from the member `fault` of a delivery's payload. Nothing in the application
knows of it: functions are replaced as their modules are imported.
"""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.machinery
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_BLOCK = 32 * 2**20
_MOST_BLOCKS = 64


def misbehave(fault: str) -> None:
    """What a job can do to the process that runs it."""
    match fault:
        case "raise":
            raise RuntimeError("poison")
        case "segfault":
            ctypes.string_at(0)
        case "killed":
            # What the kernel does to a process that allocates past its container's limit.
            os.kill(os.getpid(), signal.SIGKILL)
        case "memory":
            blocks = [bytearray(_BLOCK) for _ in range(_MOST_BLOCKS)]
            raise AssertionError(f"nothing stopped it at {_BLOCK * len(blocks):,} bytes")
        case "deaf":
            # Ignores every deadline, as a C library in an endless loop does.
            while True:
                time.sleep(1)


def deliver_badly(module: ModuleType) -> None:
    handler = module.DeliveryHandler
    run = handler.run

    def faulty(self: Any, work: Any, *given: Any) -> Any:
        payload = json.loads(work.body)
        if isinstance(payload, dict) and "fault" in payload:
            misbehave(payload["fault"])
        return run(self, work, *given)

    handler.run = faulty
    if kind := os.environ.get("CHAOS_KIND"):
        module.KIND = kind


def accept_of_another_kind(module: ModuleType) -> None:
    if kind := os.environ.get("CHAOS_KIND"):
        module.KIND = kind


def die_before_announcing(module: ModuleType) -> None:
    """Between the commit and the announcement of the job with this number."""
    doomed = int(os.environ.get("CHAOS_DIE_AT", "0"))
    announce = module.Announcer.announce
    count = 0

    def deadly(self: Any, *announced: Any, **how: Any) -> None:
        nonlocal count
        count += 1
        if count == doomed:
            os.kill(os.getpid(), signal.SIGKILL)
        announce(self, *announced, **how)

    if doomed:
        module.Announcer.announce = deadly


CHANGES: dict[str, Callable[[ModuleType], None]] = {
    "app.deliveries.job": deliver_badly,
    "app.deliveries.service": accept_of_another_kind,
    "app.queue.outbox": die_before_announcing,
}


def fail_within(module: ModuleType) -> None:
    """An error that nobody foresaw, once: CHAOS_FAIL is `module:Class.method:before`, or `:after` when the method has
    done its work."""
    _, path, when = os.environ["CHAOS_FAIL"].split(":")
    owner_name, method_name = path.split(".")
    owner = getattr(module, owner_name)
    method = getattr(owner, method_name)
    failed = False

    def faulty(*given: Any, **how: Any) -> Any:
        nonlocal failed
        answer = method(*given, **how) if failed or when == "after" else None
        # A call that did nothing is not the one that is meant.
        if not failed and (when == "before" or answer):
            failed = True
            raise RuntimeError("nobody foresaw this")
        return answer

    setattr(owner, method_name, faulty)


def also(first: Callable[[ModuleType], None] | None, second: Callable[[ModuleType], None]) -> Any:
    return lambda module: [change(module) for change in (first, second) if change]


if failing := os.environ.get("CHAOS_FAIL", "").partition(":")[0]:
    CHANGES[failing] = also(CHANGES.get(failing), fail_within)


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules to change as the others do, and changes them once they ran."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name not in CHANGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None, name
        assert spec.loader is not None, name
        run = spec.loader.exec_module

        def run_and_change(module: ModuleType) -> None:
            run(module)
            CHANGES[name](module)

        spec.loader.exec_module = run_and_change  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Finder())
