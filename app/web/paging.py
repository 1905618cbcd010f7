"""Lists, newest first, in pages that callers go through with a cursor: the place of a row, to be handed back unread."""

from __future__ import annotations

import base64
import struct
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, Select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import InvalidInput

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMAT = struct.Struct(">q16s")


async def read(
    engine: AsyncEngine, rows: Select[*tuple[Any, ...]], table: Any, *, cursor: str | None, limit: int
) -> tuple[list[RowMapping], str | None]:
    """Up to `limit` of the rows, and the cursor of the next page. `table` has `created_at` and `id`, as have the rows.

    Raises InvalidInput for a cursor that is none.
    """
    place = (table.created_at, table.id)
    if cursor is not None:
        try:
            rows = rows.where(tuple_(*place) < decode_cursor(cursor))
        except ValueError:
            raise InvalidInput.of("/cursor", "take it from next_cursor of the page before") from None
    # One more than asked for tells whether there is a next page.
    rows = rows.order_by(*(column.desc() for column in place)).limit(limit + 1)
    async with engine.connect() as connection:
        found = list((await connection.execute(rows)).mappings())
    page = found[:limit]
    return page, encode_cursor(page[-1]["created_at"], page[-1]["id"]) if len(found) > limit else None


def encode_cursor(created_at: datetime, row_id: uuid.UUID) -> str:
    microseconds = (created_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(_FORMAT.pack(microseconds, row_id.bytes)).decode()


def decode_cursor(cursor: str) -> tuple[datetime, uuid.UUID]:
    """Raises ValueError for text that `encode_cursor` did not make."""
    try:
        microseconds, identifier = _FORMAT.unpack(base64.b64decode(cursor, altchars=b"-_", validate=True))
        return _EPOCH + timedelta(microseconds=microseconds), uuid.UUID(bytes=identifier)
    except (struct.error, OverflowError) as error:
        raise ValueError("no cursor of ours") from error
