"""Replicate's HTTP API: predictions of a public model, of one of its versions, or of a version alone.

A prediction is one JSON object everywhere: in the answer to each call, and as the body of the webhook that is named
when it is created. Our own id comes back in that webhook's address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from app.json_text import dumps, of_members
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

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_MODEL = re.compile(rf"(?P<owner>{_NAME})/(?P<name>{_NAME})")
_VERSION = re.compile(rf"(?:{_NAME}/{_NAME}:)?(?P<version>[0-9a-f]{{64}})")

_STATUS: dict[str, Literal["processing", "succeeded", "failed", "canceled"]] = {
    "starting": "processing",
    "processing": "processing",
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "canceled",
    # Ended by Replicate's own deadline before it began.
    "aborted": "canceled",
}


class Replicate:
    """See app.predictions.providers.base.Dialect."""

    name: ProviderName = "replicate"

    def check(self, model: str, input: Mapping[str, Any]) -> None:  # noqa: ARG002 - each model has its own input
        if not _MODEL.fullmatch(model) and not _VERSION.fullmatch(model):
            raise ValueError("model", "write owner/name, owner/name:version or a version of 64 hexadecimal digits")

    def submit(self, submission: Submission) -> Call:
        body = {"input": submission.input}
        if submission.webhook:
            body |= {"webhook": dumps(submission.webhook), "webhook_events_filter": dumps(["completed"])}
        if version := _VERSION.fullmatch(submission.model):
            path, body["version"] = "/v1/predictions", dumps(version["version"])
        else:
            path = f"/v1/models/{submission.model}/predictions"
        key = str(submission.prediction_id)
        return Call(method="POST", path=path, body=of_members(body), headers={"Idempotency-Key": key})

    def fetch(self, provider_id: str) -> Call:
        return Call(method="GET", path=f"/v1/predictions/{provider_id}")

    def cancel(self, provider_id: str) -> Call:
        return Call(method="POST", path=f"/v1/predictions/{provider_id}/cancel")

    def read(self, document: Any) -> Snapshot:
        prediction = members(document)
        provider_id = identifier(prediction.get("id"))
        status = _STATUS.get(str(prediction.get("status")))
        if status is None:
            raise Unreadable("no known status")
        error = message(prediction.get("error"))
        if status == "failed":
            error = error or "the model failed without a message"
        elif status == "succeeded" and prediction.get("data_removed") is True:
            # It keeps results for an hour.
            status, error = "failed", "the provider had removed the result before it was read"
        return Snapshot(provider_id=provider_id, status=status, output=prediction.get("output"), error=error)

    def notice(self, document: Any) -> Notice | None:
        snapshot = self.read(document)
        return Notice(provider_id=snapshot.provider_id, snapshot=snapshot) if snapshot.finished else None

    def problem(self, document: Any) -> str | None:
        return message(document.get("detail") or document.get("title")) if isinstance(document, dict) else None
