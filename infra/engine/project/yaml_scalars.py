"""Which unquoted words of a stack file mean one thing: to us, to the Pulumi CLI and to their author.

The CLI reads the same file with Go's yaml.v3 (v3.0.1: resolve.go), which keeps YAML 1.1's octal `012`, hexadecimal,
underscores and dates; our reader follows YAML 1.2. And neither keeps what was typed once it is a number: a commit
`6063e25` was deployed as version `6.063e+28`, a version `8.20` as 8.2. So a number counts only in the one form in
which it is written back (`12`, `0.5`); any other must say in quotes that it is a text.
`tests/engine/backend/data/yaml-v3.json` has what yaml.v3 answers, and a test holds these rules against it.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, Literal

Kind = Literal["text", "bool", "null", "number", "date"]

_BOOLS: Final = frozenset({"true", "True", "TRUE", "false", "False", "FALSE"})
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INTEGER: Final = re.compile(r"[-+]?(0[bB][01]+|0[oO][0-7]+|0[xX][0-9a-fA-F]+|[0-9]+)|0b[-+][01]+|0o[-+][0-7]+")
_DATE: Final = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})([Tt ].*)?", re.ASCII)
_CLOCK: Final = r"([01]?\d|2[0-3])(:[0-5]?\d){2}(\.\d+)?"
_TIME: Final = re.compile(rf"[Tt]{_CLOCK}(Z|[-+]\d\d:\d\d)| {_CLOCK}", re.ASCII)

_CANONICAL_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*")
_CANONICAL_FLOAT: Final = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]*[1-9]")
_INTEGERS: Final = range(-(2**63), 2**64)
"""What Go holds exactly; beyond it yaml.v3 makes a floating-point number of the digits."""


def kind(word: str) -> Kind:
    """What yaml.v3 takes an unquoted word for."""
    if word in _BOOLS:
        return "bool"
    if word in _NULLS:
        return "null"
    if _NOT_FINITE.fullmatch(word):
        return "number"
    if word[0] not in "+-.0123456789":
        return "text"
    if _is_date(word):
        return "date"
    digits = word.replace("_", "")
    if _INTEGER.fullmatch(digits):
        return "number"
    # A number too large for Go stays a text.
    return "number" if _FLOAT.fullmatch(digits) and abs(float(digits)) != float("inf") else "text"


def is_canonical(word: str) -> bool:
    """Whether the word is a number in the form in which both engines hand it on."""
    if _CANONICAL_INTEGER.fullmatch(word):
        return int(word) in _INTEGERS
    return bool(_CANONICAL_FLOAT.fullmatch(word)) and repr(float(word)) == word


def problem(word: str, *, ours: Kind | None, is_name: bool = False) -> str | None:
    """Why an unquoted word may not stand in a stack file, as the rest of a sentence about it; None where it may.

    `ours` is what our own reader takes it for; None for what it has no place for. `is_name`: it is a key.
    """
    theirs = kind(word)
    if is_name and theirs in ("bool", "null"):
        return "is no name"
    if theirs == ours and (theirs != "number" or is_canonical(word)) and theirs != "date":
        return None
    if "date" in (theirs, ours):
        return "would be read as a time"
    if "number" in (theirs, ours):
        return "is a number that would not stay as it was typed (for a number write plain digits, as 12 or 0.5)"
    return "means different things to slipway and to the Pulumi CLI"


def _is_date(word: str) -> bool:
    found = _DATE.fullmatch(word)
    if found is None or (found[4] and not _TIME.fullmatch(found[4])):
        return False
    try:
        datetime(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return False
    return True
