"""The markers of this target."""

from __future__ import annotations

from typing import ClassVar

from infra import markers
from infra.markers import RotationMarkerArgs

__all__ = ["RotationMarker", "RotationMarkerArgs"]


class RotationMarker(markers.RotationMarker):
    """As on every target; the token is the one that states of local stacks have."""

    kind: ClassVar[str] = "slipway:local:RotationMarker"
