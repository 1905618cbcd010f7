"""What a signal means to a worker."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

_SAME_REQUEST = 1.0


class Shutdown:
    """`requested` by the first SIGTERM or SIGINT, `forced` by a later one. The handler only sets flags.

    A second signal within a second is the same request: a terminal's Ctrl-C reaches the whole process group, and a
    supervisor in it passes on its own.
    """

    def __init__(self) -> None:
        self.requested = threading.Event()
        """Take no more jobs, finish those under way."""
        self.forced = threading.Event()
        """Hand back those under way, and end now."""
        self.failed = threading.Event()
        """A thread ended unexpectedly: hand back what cannot be finished, and end with an error."""
        self._first = 0.0

    def fail(self) -> None:
        """From any thread."""
        self.failed.set()
        self.requested.set()

    def install(self) -> None:
        """In the main thread."""
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if not self._first:
            self._first = time.monotonic()
            self.requested.set()
        elif time.monotonic() - self._first >= _SAME_REQUEST:
            self.forced.set()
