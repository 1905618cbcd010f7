"""The tables: every resource type that the emulation knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from emulator.kinds import account, data, ec2, platform
from emulator.mapping import Kind

KINDS: Final[Mapping[str, Kind]] = {
    kind.type: kind for module in (ec2, data, platform, account) for kind in module.KINDS
}
