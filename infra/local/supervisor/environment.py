"""What a service gets of the environment that ``up`` was started from.

Nothing else is passed on: the service must be the same whoever starts it, and a passphrase in the shell is none of
its business.
"""

from __future__ import annotations

import os

_NAMES = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")


def base() -> dict[str, str]:
    """The passed-on part of this process's environment."""
    return {name: os.environ[name] for name in _NAMES if name in os.environ}
