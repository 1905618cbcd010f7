"""What the server's protocol leaves for the application, apart from both so that neither loads the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

IS_DISCONNECTED: Final = "slipway.is_disconnected"
"""In a request's scope: a function that says whether its connection is closed."""


@dataclass
class RejectedRequests:
    """Counts of what the protocol refused, of which the application has no request."""

    too_large: int = 0
    too_late: int = 0
    malformed: int = 0
