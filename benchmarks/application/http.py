"""Just enough HTTP/1.1 for the load generator and the receiver to be faster than what they measure."""

from __future__ import annotations

_LENGTH = b"\r\ncontent-length:"
_CLOSE = b"\r\nconnection: close"


class Messages:
    """Cuts a stream of bytes into messages: head (to the blank line, as sent) and body. No chunked bodies."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The messages that are complete with `data`."""
        self._buffer += data
        found = []
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[: end + 2]
            total = end + 4 + int(header(head, _LENGTH) or 0)
            if len(self._buffer) < total:
                break
            found.append((head, self._buffer[end + 4 : total]))
            self._buffer = self._buffer[total:]
        return found


def header(head: bytes, name: bytes) -> bytes | None:
    """The value of a header; `name` as ``\\r\\nname:`` in lower case."""
    at = head.lower().find(name)
    if at < 0:
        return None
    start = at + len(name)
    return head[start : head.index(b"\r\n", start)].strip()


def closes(head: bytes) -> bool:
    return _CLOSE in head.lower()
