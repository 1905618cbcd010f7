"""The rotation records of this target."""

from __future__ import annotations

from typing import ClassVar

from infra import rotation_record
from infra.rotation_record import RotationRecordArgs

__all__ = ["RotationRecord", "RotationRecordArgs"]


class RotationRecord(rotation_record.RotationRecord):
    """As on every target; the token is the one that states of local stacks have."""

    kind: ClassVar[str] = "slipway:local:RotationMarker"
