"""OpenAI's Responses API in background mode: created, then asked for until it has ended.

Webhooks are set up once for a project, not with each request; they carry the response's id and no result, and come
for every response of the project. Our own id travels in the response's metadata.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any, Literal

from app.json_text import dumps, of_members, read
from app.predictions.providers.base import (
    Call,
    Notice,
    ProviderName,
    Snapshot,
    Submission,
    Unreadable,
    identifier,
    members,
    message,
)

REFERENCE = "prediction_id"
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}")
_OURS = frozenset({"model", "background", "stream", "stream_options", "store"})
_MOST_METADATA = 15
"""OpenAI takes 16 entries; one is ours."""

_STATUS: dict[str, Literal["processing", "succeeded", "failed", "canceled"]] = {
    "queued": "processing",
    "in_progress": "processing",
    "completed": "succeeded",
    "failed": "failed",
    "incomplete": "failed",
    "cancelled": "canceled",
}
_ENDS = frozenset(f"response.{status}" for status in ("completed", "failed", "incomplete", "cancelled"))


class OpenAI:
    """See app.predictions.providers.base.Dialect."""

    name: ProviderName = "openai"

    def check(self, model: str, input: Mapping[str, Any]) -> None:
        if not _MODEL.fullmatch(model):
            raise ValueError("model", "is no model name")
        if taken := sorted(_OURS.intersection(input)):
            raise ValueError("input", f"not allowed, the service sets them itself: {', '.join(taken)}")
        if not {"input", "prompt"}.intersection(input):
            raise ValueError("input", "holds neither `input` nor `prompt`, which OpenAI's Responses API takes")
        metadata = input.get("metadata", {})
        if not isinstance(metadata, dict) or len(metadata) > _MOST_METADATA or REFERENCE in metadata:
            raise ValueError("input", f"`metadata` must be up to {_MOST_METADATA} entries without `{REFERENCE}`")

    def submit(self, submission: Submission) -> Call:
        key = str(submission.prediction_id)
        given, texts = read(submission.input)
        body = {
            **texts,
            "model": dumps(submission.model),
            "background": dumps(True),
            # A response that is not stored cannot be asked for.
            "store": dumps(True),
            "metadata": dumps({**given.get("metadata", {}), REFERENCE: key}),
        }
        return Call(method="POST", path="/responses", body=of_members(body), headers={"Idempotency-Key": key})

    def fetch(self, provider_id: str) -> Call:
        return Call(method="GET", path=f"/responses/{provider_id}")

    def cancel(self, provider_id: str) -> Call:
        return Call(method="POST", path=f"/responses/{provider_id}/cancel")

    def read(self, document: Any) -> Snapshot:
        response = members(document)
        provider_id = identifier(response.get("id"))
        given = str(response.get("status"))
        status = _STATUS.get(given)
        if status is None:
            raise Unreadable("no known status")
        output = None
        if status != "processing":
            output = {"output": response.get("output"), "usage": response.get("usage")}
        return Snapshot(
            provider_id=provider_id,
            status=status,
            output=output,
            error=_error(given, response),
            reference=_reference(response.get("metadata")),
        )

    def notice(self, document: Any) -> Notice | None:
        event = members(document)
        if str(event.get("type")) not in _ENDS:
            return None
        return Notice(provider_id=identifier(members(event.get("data")).get("id")), snapshot=None)

    def problem(self, document: Any) -> str | None:
        error = document.get("error") if isinstance(document, dict) else None
        return message(error.get("message")) if isinstance(error, dict) else None


def _error(status: str, response: dict[str, Any]) -> str | None:
    if status == "failed":
        error = response.get("error")
        text = message(error.get("message")) if isinstance(error, dict) else None
        return text or "the model failed without a message"
    if status == "incomplete":
        details = response.get("incomplete_details")
        reason = message(details.get("reason")) if isinstance(details, dict) else None
        return f"the answer is incomplete: {reason or 'no reason given'}"
    return None


def _reference(metadata: Any) -> uuid.UUID | None:
    try:
        return uuid.UUID(metadata[REFERENCE])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
