"""Asks ECS to stop an idle worker rather than this one while it has jobs.

Without it, scaling in stops any task, and a busy one needs the length of a job until it is gone. ECS honours it
in deployments as well, which would wait for ever for a worker that is never idle. So one busy spell is protected for a
limited time and not again before the worker has been idle: work that keeps coming is no reason for scaling in, and a
deployment that stops the worker still lets its jobs end.

Only for running on ECS, whose agent listens at `ECS_AGENT_URI`.
"""

from __future__ import annotations

import json
import math
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError

from app.observability.logging import get_logger

log = get_logger()

PATH: Final = "/task-protection/v1/state"
MOST_MINUTES: Final = 2880
"""The longest time that ECS protects a task for."""
SETTLE: Final = 5.0
"""Seconds without a job after which a worker counts as idle: ECS limits how often a task may change its mind."""

_EVERY = 0.5
_RETRY = 15.0
_TIMEOUT = 10.0

Clock = Callable[[], float]


class AgentError(Exception):
    """The agent did not do it; the message is its reason."""


class TaskProtection:
    """`busy` says whether there are jobs under way, `longest_job` how long one may take in seconds."""

    def __init__(
        self,
        uri: str,
        *,
        busy: Callable[[], bool],
        longest_job: float,
        stop: threading.Event,
        clock: Clock = time.monotonic,
    ) -> None:
        self._url = uri.rstrip("/") + PATH
        self._busy, self._stop, self._clock = busy, stop, clock
        # Twice, because the job that matters may begin when another is about to end.
        self._minutes = min(MOST_MINUTES, max(1, math.ceil(2 * longest_job / 60)))
        self._until: float | None = None
        """When the protection of this busy spell ends by itself; None when there was none yet."""
        self._idle_since: float | None = None
        self._not_before = 0.0
        self._failing = False

    @classmethod
    def of(
        cls, environ: Mapping[str, str], *, busy: Callable[[], bool], longest_job: float, stop: threading.Event
    ) -> TaskProtection | None:
        """None outside ECS."""
        uri = environ.get("ECS_AGENT_URI")
        return cls(uri, busy=busy, longest_job=longest_job, stop=stop) if uri else None

    def start(self) -> None:
        """Watch from a thread until the worker stops. A task that is being stopped needs no protection any more."""
        threading.Thread(target=self._run, name="task-protection", daemon=True).start()

    def _run(self) -> None:
        while not self._stop.wait(_EVERY):
            self.look()

    def look(self) -> None:
        """One look at whether the worker is busy, and what follows from it."""
        now = self._clock()
        if self._busy():
            self._idle_since = None
            if self._until is None and self._set(enabled=True):
                self._until = now + 60 * self._minutes
            return
        if self._until is None:
            return
        if self._idle_since is None:
            self._idle_since = now
        if now - self._idle_since >= SETTLE and (now >= self._until or self._set(enabled=False)):
            self._until = self._idle_since = None

    def _set(self, *, enabled: bool) -> bool:
        """Whether it was done. Without protection jobs are still finished, so a failure is logged and nothing else."""
        if self._clock() < self._not_before:
            return False
        try:
            self._put(
                {"ProtectionEnabled": True, "ExpiresInMinutes": self._minutes}
                if enabled
                else {"ProtectionEnabled": False}
            )
        except (AgentError, HTTPException, OSError, ValueError) as error:
            self._not_before = self._clock() + _RETRY
            if not self._failing:
                log.warning(
                    "ECS does not take the wish for protection, trying again", enabled=enabled, reason=str(error)
                )
            self._failing = True
            return False
        if self._failing:
            log.info("ECS takes the wish for protection again")
        self._failing = False
        return True

    def _put(self, state: Mapping[str, Any]) -> None:
        request = urllib.request.Request(  # noqa: S310 - the address is ECS's own
            self._url,
            data=json.dumps(state).encode(),
            headers={"Content-Type": "application/json"},
            method="PUT",
        )
        try:
            with _OPENER.open(request, timeout=_TIMEOUT) as answer:
                body = json.loads(answer.read() or b"{}")
        except HTTPError as error:
            with error:
                raise AgentError(f"status {error.code}: {_reason(error.read())}") from None
        # A refusal can come with status 200.
        if isinstance(body, dict) and ("failure" in body or "error" in body):
            raise AgentError(_reason(json.dumps(body).encode()))


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Never through a proxy: the agent is on the task's own host."""


def _reason(body: bytes) -> str:
    """The agent's own words, as far as there are any."""
    try:
        answer = json.loads(body)
    except ValueError:
        return body[:200].decode(errors="replace")
    for name in ("failure", "error"):
        if isinstance(answer, dict) and isinstance(answer.get(name), dict):
            part = answer[name]
            return str(part.get("Reason") or part.get("Message") or part.get("message") or part.get("Code") or part)
    return str(answer)[:200]
