"""What a worker's jobs are measured by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class MetricsPortError(Exception):
    """The metrics cannot be served; the message says why and what to do."""


@dataclass
class Attempt:
    """One attempt at a job, as it is traced. `traceparent` is for what the job calls."""

    traceparent: str | None
    result: str = "lost"
    error: str | None = "nothing could be stored for this attempt"

    def ended(self, result: str, error: str | None) -> None:
        self.result, self.error = result, error


class JobRecorder(Protocol):
    """Called from the threads of the jobs. Each `started` is followed by one `ended`, whatever happens to the job."""

    def started(self, kind: str, wait_seconds: float) -> None:
        """A job was claimed, `wait_seconds` after it was due."""

    def ended(self, kind: str, outcome: str, seconds: float) -> None:
        """`outcome`: done, retry or dead as stored; `lost` when nothing could be stored for this attempt."""


class Unrecorded:
    """Keeps nothing: for a process that serves no metrics."""

    def started(self, kind: str, wait_seconds: float) -> None:
        """Nothing to do."""

    def ended(self, kind: str, outcome: str, seconds: float) -> None:
        """Nothing to do."""
