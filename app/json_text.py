"""JSON as text that is passed on as it came.

Reading a value and writing it again changes it. `jsonb` orders members anew and writes exponents out: 120 KB of `1e308`
left as 6.2 MB, and 960 KB made an answer of 49.6 MB. Python makes `1e+22` of `1e22`. A signature over the sender's
bytes holds for the sender's bytes alone, so those are kept and sent; what was read of them is only for checking.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

_BLANKS = r"[ \t\n\r]*"
_OPENED = re.compile(rf"{_BLANKS}\{{{_BLANKS}(\}}{_BLANKS})?")
_COLON = re.compile(rf"{_BLANKS}:{_BLANKS}")
_PLAIN_NAME = re.compile(rf'"([^"\\\x00-\x1f]*)"{_COLON.pattern}')
"""One without escapes, as nearly all are: the parser is not called for it."""
_AFTER = re.compile(rf"{_BLANKS}([,}}]){_BLANKS}")


class NotJson(ValueError):
    """The text is no JSON that can be read; `str()` is a reason that may be shown to the sender."""


class Repeated(ValueError):
    """Two members of one object have the name `name`: which one counts would be a guess."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} is given twice")
        self.name = name


def read(text: str) -> tuple[Any, dict[str, str]]:
    """The value, and the text of each member when it is an object; raises NotJson, and Repeated for its own members.

    What stands within a member is the sender's: a name that is repeated there stays repeated in the text, and has its
    last value in the value.
    """
    try:
        return _read(text)
    except json.JSONDecodeError as error:
        raise NotJson(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise NotJson("it is nested beyond reason") from None
    except (NotJson, Repeated):
        raise
    except ValueError:
        # The interpreter's bound, as reading takes the square of the length.
        raise NotJson("a whole number has more than 4,300 digits") from None


def of_members(members: Mapping[str, str]) -> str:
    """The object that has these members, each given by its text."""
    return "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in members.items()) + "}"


def dumps(value: Any) -> str:
    """The text of a value that has none of its own. Raises ValueError for a number that JSON does not have."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def storable(text: str) -> str:
    """The text with U+FFFD for what Postgres cannot hold in one: a NUL, and half of a surrogate pair."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _refuse(constant: str) -> NoReturn:
    raise NotJson(f"{constant} is no number of JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _read(text: str) -> tuple[Any, dict[str, str]]:
    opened = _OPENED.match(text)
    if opened is None:
        return _DECODER.decode(text), {}
    value: dict[str, Any] = {}
    texts: dict[str, str] = {}
    at, ended = opened.end(), bool(opened[1])
    while not ended:
        name, begin = _name(text, at)
        member, end = _DECODER.raw_decode(text, begin)
        if name in texts:
            raise Repeated(name)
        value[name], texts[name] = member, text[begin:end]
        after = _AFTER.match(text, end)
        if after is None:
            raise json.JSONDecodeError("Expecting ',' or '}'", text, end)
        at, ended = after.end(), after[1] == "}"
    if at < len(text):
        raise json.JSONDecodeError("Expecting the end", text, at)
    return value, texts


def _name(text: str, at: int) -> tuple[str, int]:
    """Of the member that begins here, and where its value begins."""
    if plain := _PLAIN_NAME.match(text, at):
        return plain[1], plain.end()
    name, at = _DECODER.raw_decode(text, at)
    if not isinstance(name, str):
        raise json.JSONDecodeError("Expecting a name in double quotes", text, at)
    colon = _COLON.match(text, at)
    if colon is None:
        raise json.JSONDecodeError("Expecting ':'", text, at)
    return name, colon.end()
