"""Password hashes: Argon2id, off the event loop, never more at once than there are cores."""

from __future__ import annotations

import asyncio
import os
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_LENGTH = 12
MAX_LENGTH = 1024
"""Characters as they were typed. Without an upper bound a request could make the server hash a megabyte; normalising a
long row of combining marks takes time by its square (2 ms for this many)."""

T = TypeVar("T")

# OWASP's first choice for Argon2id; 19 MiB a hash lets a 512 MiB container verify several at once.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


def normalised(password: str) -> str:
    """The password that was meant, whichever keyboard it came from: NFKC, as NIST SP 800-63B has it (section 5.1.1.2,
    in revision 4 section 3.1.1.2). Blanks at the ends count."""
    return unicodedata.normalize("NFKC", password)


class Passwords:
    """Hashes and verifies in its own few threads, so that a burst of logins delays other logins and nothing else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="argon2")

    async def hash(self, password: str) -> str:
        return await self._run(lambda: _HASHER.hash(normalised(password)))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether the hash is the password's. None, for no account, costs the same time and is False.

        Earlier versions hashed what was typed, so that this is tried second. A hash is made anew when its parameters
        are outdated and not for this: a replica of the version before could not verify it.
        """
        return await self._run(lambda: _verify(password, password_hash))

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return _HASHER.check_needs_rehash(password_hash)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _verify(password: str, password_hash: str | None) -> bool:
    known = password_hash or _decoy()
    matches = any(_matches(text, known) for text in dict.fromkeys((normalised(password), password)))
    return matches and password_hash is not None


def _matches(text: str, password_hash: str) -> bool:
    try:
        return _HASHER.verify(password_hash, text)
    except (VerificationError, InvalidHashError):
        return False


@lru_cache(maxsize=1)
def _decoy() -> str:
    return _HASHER.hash(os.urandom(16).hex())
