"""The marks by which Pulumi tells a map that stands for something else from a map of the program's own."""

from __future__ import annotations

from typing import Final

KEY: Final = "4dabf18193072939515e22adb298388d"
"""The key under which a map carries its mark."""
SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a mark, not a secret
PLAIN_MAPS: Final = frozenset(
    {"c44067f5952c0a294b673a41bacd8c17", "0def7320c3a5731c473e5ecbe6d01bc7", "5cf8f73096256a8f31e491e813e4eb8e"}
)
"""Assets, archives and references to resources: the engine keeps them as the maps they are."""
FLOAT: Final = "8ad145fe-0d11-4827-bfd7-1abcbf086f5c"
"""A number that JSON cannot write: ``value`` is its 64 bits in hexadecimal."""
BYTE_STRING: Final = "803fd3297a5875dc03ca845dda5d2a98"
"""A text that is not UTF-8: ``value`` is its bytes in base64."""
UNKNOWN: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""The text that stands for a value which is not known yet."""
