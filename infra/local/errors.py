"""What goes wrong on this machine, in words that say what to do."""

from __future__ import annotations


class LocalError(Exception):
    """One clear message for the person at the terminal."""

    user_facing = True


class NotServing(LocalError):
    """A service was not changed, because its new self did not get healthy. The old one serves on, if there was one."""

    def __init__(self, service: str, reason: str, tail: list[str], log: str) -> None:
        lines = "".join(f"\n    {line}" for line in tail)
        output = f"\n  Its last lines:{lines}" if tail else ""
        super().__init__(f"{service}: {reason}.{output}\n  The whole log: {log}")
