"""What the prediction endpoints take and give."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from app.predictions.models import PredictionStatus
from app.predictions.providers.base import ProviderName
from app.web.http import RequestModel, ResponseModel, Storable, WrittenJson, WrittenObject


class PredictionIn(RequestModel):
    provider: ProviderName
    model: Annotated[str, Field(min_length=1, max_length=300), Storable]
    input: Annotated[
        dict[str, Any],
        Field(description="Of Replicate the model's input; of OpenAI the members of a response's request."),
        Storable,
    ]


class PredictionAccepted(ResponseModel):
    id: uuid.UUID
    status: PredictionStatus


class PredictionSummary(ResponseModel):
    id: uuid.UUID
    provider: ProviderName
    model: str
    status: PredictionStatus
    provider_id: str | None = Field(description="Null until the provider has it.")
    error: str | None
    created_at: datetime
    updated_at: datetime
    submitted_at: datetime | None
    completed_at: datetime | None


class PredictionOut(PredictionSummary):
    input: Annotated[WrittenObject, Field(description="As it was accepted.")]
    output: Annotated[
        WrittenJson,
        Field(description="Of Replicate the model's output; of OpenAI `output` and `usage`. Null until then."),
    ]


class PredictionPage(ResponseModel):
    items: list[PredictionSummary]
    next_cursor: str | None = Field(description="Null on the last page.")


class PredictionQuery(RequestModel):
    status: PredictionStatus | None = None
    cursor: Annotated[str | None, Field(max_length=200, description="`next_cursor` of the page before.")] = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class WebhookAccepted(ResponseModel):
    """The same for one that comes again."""

    webhook_id: str
