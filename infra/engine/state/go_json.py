"""JSON and text exactly as Go's encoder writes them.

The CLI compares what a program is given with the text in the state, so a map that Python would write with other
spacing, key order or number form shows up as a change the first time the other engine runs.
"""

from __future__ import annotations

import json
import math
from datetime import date, datetime
from typing import Any

# Go escapes these in JSON unless told otherwise, so that the text can stand inside a script element.
_HTML = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
# And these always: they end a line in JavaScript.
_SEPARATORS = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029"})
_INTEGRAL_LIMIT = 1e21
"""Below it Go writes a whole float without fraction or exponent."""


def dumps(value: Any, *, sort_keys: bool = True, escape_html: bool = True) -> str:
    """Compact JSON; keys sorted, as those of a Go map are, unless the caller has put them in a struct's order."""
    text = json.dumps(
        _numbers(value), ensure_ascii=False, separators=(",", ":"), sort_keys=sort_keys, allow_nan=False
    ).translate(_SEPARATORS)
    return text.translate(_HTML) if escape_html else text


def config_text(value: Any) -> str:
    """What a program receives for a config value: text as it is, all else as JSON."""
    return value if isinstance(value, str) else dumps(value)


def plain(value: Any) -> Any:
    """Reduce a parsed YAML value to JSON types, dates as Go prints them; raises TypeError on anything else."""
    match value:
        case None | bool():
            return value
        case int():
            # A boolean with an anchor is a number with a name, to the parser: it came out as 1.
            return bool(value) if type(value).__name__ == "ScalarBoolean" else int(value)
        case float():
            return float(value)
        case str():
            return str(value)
        case datetime() | date():
            moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
            return f"{moment:%Y-%m-%d %H:%M:%S} +0000 UTC"
        case list():
            return [plain(item) for item in value]
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
    if type(value).__name__ == "TaggedScalar":
        # Of all tags only that of a text is let through: `!!str 12`.
        return str(value.value)
    raise TypeError(f"{type(value).__name__} has no place in a config value")


def _numbers(value: Any) -> Any:
    match value:
        case float() if math.isfinite(value) and value.is_integer() and abs(value) < _INTEGRAL_LIMIT:
            return int(value)
        case dict():
            return {key: _numbers(item) for key, item in value.items()}
        case list() | tuple():
            return [_numbers(item) for item in value]
    return value
