"""Clients of the pretended account for the stack's control resources, which find this by `SLIPWAY_AWS_CLIENTS`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from emulator import cloud
from infra.aws.control.clients import FACTORY, Clients

VARIABLE: Final = FACTORY
WHERE: Final = "emulator.control:connect"


class Clock:
    """Nothing takes time here: a wait only moves this clock on."""

    def __init__(self) -> None:
        self._passed = 0.0

    def monotonic(self) -> float:
        return self._passed

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._passed)

    def sleep(self, seconds: float) -> None:
        self._passed += seconds


class _OneAtATime:
    """A client whose calls exclude all others: moto is not made for several threads."""

    def __init__(self, client: Any, lock: Any) -> None:
        self._client = client
        self._lock = lock

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(**arguments: Any) -> Any:
            with self._lock:
                return found(**arguments)

        return call


def connect(region: str) -> Clients:
    account = cloud.current()
    ecs, logs = (_OneAtATime(account.client(service), account.lock) for service in ("ecs", "logs"))
    return Clients(region=region, ecs=ecs, logs=logs, clock=Clock())
