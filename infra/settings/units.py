"""Times, sizes and shares of a processor, read as people write them: ``15m``, ``1 GiB``, ``0.5 vCPU``.

A bare number has no unit and is refused where a unit decides its meaning: `timeout: 30` was milliseconds in one
system and seconds in the next one too often.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION_PART: Final = re.compile(rf"\s*{_NUMBER}\s*(ms|s|m|h|d|w)\s*")
_MILLISECONDS: Final = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}

_SIZE: Final = re.compile(rf"\s*{_NUMBER}\s*(B|[KMGT]i?B)\s*")
_BYTES: Final[dict[str, int]] = {"B": 1} | {
    f"{letter}{suffix}": int(base ** (power + 1))
    for power, letter in enumerate("KMGT")
    for suffix, base in (("iB", 1024), ("B", 1000))
}
_BINARY: Final = ("TiB", "GiB", "MiB", "KiB")

_CPU: Final = re.compile(rf"\s*{_NUMBER}\s*(?:vCPU)?\s*", re.IGNORECASE)


def parse_duration(text: str) -> timedelta:
    """``"15m"``, ``"1h30m"``, ``"500ms"`` as a time span; raises ValueError for anything else."""
    total, end = 0.0, 0
    for part in _DURATION_PART.finditer(text):
        if part.start() != end:
            break
        total += float(part[1]) * _MILLISECONDS[part[2]]
        end = part.end()
    if end != len(text) or not text.strip():
        raise ValueError("is no duration: write a number and a unit, such as 500ms, 30s, 15m, 12h or 7d")
    return timedelta(milliseconds=round(total))


def format_duration(value: timedelta) -> str:
    """The shortest spelling that `parse_duration` reads back: ``15m``, ``1h30m``, ``0s``."""
    left, parts = milliseconds(value), []
    for unit, size in _MILLISECONDS.items():
        if unit == "w":
            continue  # "7d" says more than "1w" where the limit is counted in days
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def milliseconds(value: timedelta) -> int:
    return value // timedelta(milliseconds=1)


def whole_seconds(value: timedelta) -> int:
    """Rounded up: a timeout may be granted a moment more, never less."""
    return -(-milliseconds(value) // 1000)


def single_unit(value: timedelta) -> str:
    """The span in one unit, as JWT libraries spell it: ``15m``, ``7d``, ``90m`` and never ``1h30m``."""
    total = whole_seconds(value)
    for unit in ("d", "h", "m"):
        size = _MILLISECONDS[unit] // 1000
        if total and total % size == 0:
            return f"{total // size}{unit}"
    return f"{total}s"


def parse_size(text: str) -> int:
    """``"512 MiB"`` or ``"20 GB"`` in bytes; raises ValueError for anything else."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("is no size: write a number and a unit, such as 64 KiB, 512 MiB or 20 GiB")
    return round(float(match[1]) * _BYTES[match[2]])


def format_size(value: int) -> str:
    """The largest binary unit that divides the size: ``1 MiB``, ``1536 MiB``, ``100 B``."""
    for unit in _BINARY:
        if value and value % _BYTES[unit] == 0:
            return f"{value // _BYTES[unit]} {unit}"
    return f"{value} B"


def parse_cpu(text: str) -> float:
    """``"0.5 vCPU"`` or ``"0.5"`` in vCPUs; raises ValueError for anything else."""
    match = _CPU.fullmatch(text)
    if match is None:
        raise ValueError("is no amount of processor: write vCPUs, such as 0.25 vCPU or 2 vCPU")
    return float(match[1])


def format_cpu(value: float) -> str:
    return f"{value:g} vCPU"


def mebibytes(value: int) -> int:
    """Bytes in whole MiB, as container runtimes count memory."""
    return value // _BYTES["MiB"]
