"""The `Idempotency-Key` of a request that must not be done twice, and the answer to its second use."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from typing import Any

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from app.errors import InvalidInput
from app.web import http

HEADER = "Idempotency-Key"

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def key_of(request: Request[Any]) -> str | None:
    """The request's key; raises InvalidInput for one that cannot be used."""
    key = request.headers.get(HEADER)
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidInput.of(HEADER, "must be 1 to 255 printable ASCII characters without blanks")
    return key


def fingerprint(given: BaseModel) -> bytes:
    """Equal for requests that mean the same: neither blanks nor the order of members count."""
    canonical = json.dumps(given.model_dump(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).digest()


async def first_use(
    connection: AsyncConnection, table: Any, user_id: uuid.UUID, key: str | None, request_hash: bytes | None
) -> uuid.UUID:
    """Id of the row that the account's first request with this key made; InvalidInput when that was another request.

    `table` has the key, unique for each account, and the fingerprint as `request_hash`.
    """
    statement = select(table.id, table.request_hash).where(table.user_id == user_id, table.idempotency_key == key)
    row = (await connection.execute(statement)).one()
    if row.request_hash != request_hash:
        noun = table.__name__.lower()
        raise InvalidInput(f"this Idempotency-Key was used with another body: use a new key for a new {noun}")
    found: uuid.UUID = row.id
    return found


def reply(accepted: BaseModel, *, location: str, replayed: bool) -> Response:
    """202, and whether it is the answer of an earlier request."""
    headers = {"Location": location, **({"Idempotent-Replayed": "true"} if replayed else {})}
    return http.reply(accepted, 202, headers)
