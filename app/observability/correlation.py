"""One id from the request, over the job that it caused, to the receiver's log."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from structlog.contextvars import bound_contextvars, get_contextvars

HEADER = "X-Request-ID"

_KEY = "correlation_id"
_VALID = re.compile(r"[A-Za-z0-9._~:/+=-]{1,128}")


def accept(given: str | None) -> str:
    """The caller's id if it is harmless in a log line and a header, else a new one."""
    return given if given is not None and _VALID.fullmatch(given) else uuid.uuid4().hex


def current() -> str | None:
    """The id bound in this context, if any."""
    value = get_contextvars().get(_KEY)
    return value if isinstance(value, str) else None


@contextmanager
def bound(correlation_id: str | None) -> Iterator[str]:
    """Within the block every log line carries the id (a new one for None)."""
    value = accept(correlation_id)
    with bound_contextvars(**{_KEY: value}):
        yield value
