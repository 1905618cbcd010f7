"""The tables: every resource type that the emulation knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from emulator.kinds import account, data, ec2, platform
from emulator.mapping import Kind

KINDS: Final[Mapping[str, Kind]] = {
    kind.type: kind for module in (ec2, data, platform, account) for kind in module.KINDS
}

FACTS: Final[Mapping[str, Any]] = json.loads(Path(__file__).parents[1].joinpath("replacements.json").read_text())
"""What the real provider replaces and what it changes in place, by type, with its release. The tables are held to
it."""
