"""Stack config as one frozen, validated tree: `load` the strings that Pulumi hands over, or `parse` a plain tree.

Every problem is reported at once, each with its key, what is allowed and the command that mends it.
"""

from __future__ import annotations

from infra.settings.loading import from_pulumi, load, parse
from infra.settings.problems import Problem, SettingsError
from infra.settings.tree import Settings

__all__ = ["Problem", "Settings", "SettingsError", "from_pulumi", "load", "parse"]
