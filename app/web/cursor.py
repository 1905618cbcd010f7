"""A place in a list that is newest first, as text that callers hand back unread."""

from __future__ import annotations

import base64
import struct
import uuid
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMAT = struct.Struct(">q16s")


def encode(created_at: datetime, row_id: uuid.UUID) -> str:
    microseconds = (created_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(_FORMAT.pack(microseconds, row_id.bytes)).decode()


def decode(cursor: str) -> tuple[datetime, uuid.UUID]:
    """Raises ValueError for text that `encode` did not make."""
    try:
        microseconds, identifier = _FORMAT.unpack(base64.b64decode(cursor, altchars=b"-_", validate=True))
        return _EPOCH + timedelta(microseconds=microseconds), uuid.UUID(bytes=identifier)
    except (struct.error, OverflowError) as error:
        raise ValueError("no cursor of ours") from error
