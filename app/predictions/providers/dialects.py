"""Every provider's dialect by name."""

from __future__ import annotations

from collections.abc import Mapping

from app.predictions.providers.base import Dialect, ProviderName
from app.predictions.providers.openai import OpenAI
from app.predictions.providers.replicate import Replicate

DIALECTS: Mapping[ProviderName, Dialect] = {"replicate": Replicate(), "openai": OpenAI()}
