"""The `Idempotency-Key` of a request that must not be done twice, and what tells two uses of one key apart."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request

from app.errors import FieldError, InvalidInput

HEADER = "Idempotency-Key"

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def key_of(request: Request[Any]) -> str | None:
    """The request's key; raises InvalidInput for one that cannot be used."""
    key = request.headers.get(HEADER)
    if key is not None and not _KEY.fullmatch(key):
        detail = "must be 1 to 255 printable ASCII characters without blanks"
        raise InvalidInput("the input is not valid", errors=[FieldError(pointer=HEADER, detail=detail)])
    return key


def fingerprint(given: BaseModel) -> bytes:
    """Equal for requests that mean the same: neither blanks nor the order of members count."""
    canonical = json.dumps(given.model_dump(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).digest()
