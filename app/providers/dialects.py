"""Every provider's dialect by name."""

from __future__ import annotations

from collections.abc import Mapping

from app.providers.base import Dialect, ProviderName
from app.providers.openai import OpenAI
from app.providers.replicate import Replicate

DIALECTS: Mapping[ProviderName, Dialect] = {"replicate": Replicate(), "openai": OpenAI()}
