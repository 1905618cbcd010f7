"""What the server's protocol and the application tell each other, without the one loading the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

IS_GONE: Final = "slipway.is_gone"
"""In a request's scope: a function that says whether its connection is closed."""


@dataclass
class Refusals:
    """How many requests the protocol refused before the application heard of them."""

    too_large: int = 0
    too_late: int = 0
    malformed: int = 0
