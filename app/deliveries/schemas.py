"""What the delivery endpoints take and give."""

from __future__ import annotations

import re
import uuid
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from app.deliveries.models import DeliveryStatus
from app.web.http import RequestModel, ResponseModel, Storable, WrittenJson

MAX_HEADERS = 50
MAX_HEADER_LENGTH = 4096
MAX_HEADERS_LENGTH = 32_768
"""Of all names and values. nginx, which is in front of many receivers, takes four buffers of 8 KiB by default."""

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_VALUE = re.compile(r"[\x20-\x7e\t]*")
# Those that frame the request or that the sender sets itself; one set twice could be read in two ways.
_FORBIDDEN = frozenset(
    {
        *("connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
        *("accept-encoding", "content-encoding", "content-type", "user-agent", "x-request-id"),
        *("webhook-id", "webhook-timestamp", "webhook-signature", "traceparent", "tracestate"),
    }
)


def _deliverable(headers: dict[str, str]) -> dict[str, str]:
    names = [name.lower() for name in headers]
    if forbidden := sorted(_FORBIDDEN.intersection(names)):
        raise ValueError(f"not allowed, the service sets them itself: {', '.join(forbidden)}")
    if len(set(names)) < len(names):
        raise ValueError("a header is given twice in different letter case")
    # Blanks around a value are no part of it (RFC 9110, 5.5), and no client library sends them.
    trimmed = {name: value.strip(" \t") for name, value in headers.items()}
    for name, value in trimmed.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name[:40]!r} is no header name")
        if len(value) > MAX_HEADER_LENGTH or not _VALUE.fullmatch(value):
            raise ValueError(f"the value of {name} is too long or has characters other than printable ASCII")
    if sum(len(name) + len(value) for name, value in trimmed.items()) > MAX_HEADERS_LENGTH:
        raise ValueError(f"names and values have more than {MAX_HEADERS_LENGTH:,} characters in all")
    return trimmed


class DeliveryIn(RequestModel):
    url: Annotated[
        str,
        # For readers of the document alone: app.outbound.urls says more clearly what is wrong.
        Field(max_length=2048, json_schema_extra={"format": "uri", "pattern": "^https?://."}),
        Storable,
    ]
    payload: Annotated[Any, Field(description="Any JSON; its text is sent as the body, byte for byte."), Storable]
    headers: Annotated[
        dict[str, str], Field(max_length=MAX_HEADERS, default_factory=dict), AfterValidator(_deliverable)
    ]
    max_attempts: Annotated[int | None, Field(ge=1, le=50, description="Default: DELIVERY_MAX_ATTEMPTS.")] = None


class Accepted(ResponseModel):
    id: uuid.UUID
    status: DeliveryStatus


class AttemptOut(ResponseModel):
    number: int
    started_at: datetime
    duration_ms: int
    status_code: int | None = Field(description="Null when no response came.")
    error: str | None
    response_excerpt: str | None


class DeliverySummary(ResponseModel):
    id: uuid.UUID
    url: str
    status: DeliveryStatus
    max_attempts: int
    attempt_count: int
    last_error: str | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None


class DeliveryOut(DeliverySummary):
    payload: Annotated[WrittenJson, Field(description="As it was accepted.")]
    headers: dict[str, str]
    attempts: list[AttemptOut]


class DeliveryPage(ResponseModel):
    items: list[DeliverySummary]
    next_cursor: str | None = Field(description="Null on the last page.")


class DeliveryQuery(RequestModel):
    status: DeliveryStatus | None = None
    cursor: Annotated[
        str | None,
        Field(
            max_length=200,
            description="`next_cursor` of the page before.",
            json_schema_extra={"pattern": "^[A-Za-z0-9_-]{32}$"},
        ),
    ] = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
