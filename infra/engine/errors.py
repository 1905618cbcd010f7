"""The errors that a user of the engine can meet: each is one message that says what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path


class EngineError(Exception):
    """A problem in one message with its remedy. The command line prints it as it stands, with no traceback."""

    user_facing = True


class ProjectError(EngineError):
    """`Pulumi.yaml` or a stack file is missing, unreadable or says something that cannot be."""


class UnknownStackError(ProjectError):
    """There is no `Pulumi.<stack>.yaml` for the stack that was asked for."""

    def __init__(self, stack: str, known: Sequence[str], root: Path) -> None:
        self.stack = stack
        self.known = tuple(known)
        there = ", ".join(known) if known else "none"
        near = get_close_matches(stack, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        if stack == "local":
            hint = " `pulumi stack rm` deletes that file: `slipway up` takes it back from git's last commit."
        super().__init__(
            f"there is no stack {stack!r}: {root} has no file Pulumi.{stack}.yaml. Stacks there are: {there}.{hint}"
        )


class SecretsError(EngineError):
    """Secrets can be neither read nor written: no passphrase, an unknown provider, a damaged value."""


class WrongPassphraseError(SecretsError):
    """The passphrase does not open the stack's secrets."""


class StateError(EngineError):
    """The state file cannot be read or written, or is of a form that this engine does not know."""


class LockedError(EngineError):
    """Another run holds the stack's lock. `owners` has one line for each, `paths` the lock files."""

    def __init__(self, stack: str, owners: Iterable[str], paths: Sequence[Path]) -> None:
        self.owners = tuple(owners)
        self.paths = tuple(paths)
        holders = "\n".join(f"  {line}" for line in self.owners)
        remove = " ".join(str(path) for path in self.paths)
        super().__init__(
            f"stack {stack!r} is locked by another run:\n{holders}\n"
            f"Wait until it has ended. If you are sure that it is gone, remove its lock: rm {remove}"
        )
