"""Exit codes, and the errors that belong to the command line alone."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
"""As a shell reports a command that Ctrl-C ended: 128 and the signal's number."""

BROKEN_PIPE: Final = 141
"""As a shell reports a command whose reader (`| head`) has gone: 128 and the signal's number."""


class CommandError(Exception):
    """The command cannot do what was asked: one message that says what to do. Exit code 1."""

    user_facing = True


class UsageError(Exception):
    """The command was called in a way that makes no sense. Exit code 2."""

    user_facing = True


class OutputError(Exception):
    """What the command has to say cannot be written, for another reason than a reader that has gone. Exit code 1."""

    user_facing = True
