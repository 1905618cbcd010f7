"""What is wrong with a stack's settings, said so that one reading is enough to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing to mend."""

    path: str
    """Dotted path of the key: ``api.replicas``, ``cors_origins[0]``."""
    value: str | None
    """The value as given, ``[secret]`` for a secret; None where there is none."""
    message: str
    """What is wrong, as the rest of a sentence that starts with the key."""
    allowed: str = ""
    """What would be right, as a phrase."""
    nearest: str | None = None
    """The key or value that was probably meant."""
    command: str = ""
    """A command that mends it."""

    def __str__(self) -> str:
        shown = "" if self.value is None else f" = {self.value}"
        sentences = [f"{self.message}."]
        if self.allowed:
            sentences.append(f"Allowed: {self.allowed}.")
        if self.nearest:
            sentences.append(f"Did you mean {self.nearest}?")
        lines = [f"{self.path}{shown}", f"  {' '.join(sentences)}"]
        if self.command:
            lines.append(f"  $ {self.command}")
        return "\n".join(lines)


class SettingsError(Exception):
    """The settings of a stack cannot be used. ``str()`` is the full report, with every problem."""

    user_facing = True
    """The report is for the person at the keyboard: show it without a traceback."""

    def __init__(self, problems: Sequence[Problem], *, stack: str) -> None:
        self.problems = tuple(problems)
        self.stack = stack
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        blocks = [
            f"Pulumi.{stack}.yaml: {count} in the settings. Nothing was changed.",
            *("\n".join(f"  {line}" for line in str(problem).splitlines()) for problem in self.problems),
        ]
        super().__init__("\n\n".join(blocks))
