"""Uvicorn's HTTP protocol with bounds on what it takes in before there is a request to refuse.

Uvicorn has none. One connection with a header of 40 MB held the loop for six seconds, one with 100 MB got the replica
restarted, and connections with half a head stayed open for ever. An ordinary request, which comes in one piece, pays
for a few comparisons; timers are set for the others alone.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.errors import HttpError
from app.observability.logging import get_logger
from app.web.connections import IS_DISCONNECTED, RejectedRequests
from app.web.problems import MEDIA_TYPE

MAX_HEAD: Final = 65_536
"""Bytes of request line and headers in all; as many as AWS's application load balancer lets through."""
MAX_FIELDS: Final = 200
"""Header fields. Each costs more than its bytes."""
HEAD_SECONDS: Final = 10.0
"""From the first bytes of a request to the end of its headers, and for what is left of a body after its answer."""
MAX_PIPELINED: Final = 20
"""Requests that wait on a connection for the answer to the one before."""
_LINGER_SECONDS: Final = 2.0
"""For which the rest of a refused request is read and thrown away: closing with unread input would reset the connection
and might destroy the answer on its way."""

log = get_logger()


class _Refused(Exception):
    """Raised in a callback of the parser, which ends parsing."""


class BoundedProtocol(HttpToolsProtocol):
    """Answers 431 to a head that is too large, 414 to such a URL, and 408 to one that does not come in time."""

    def __init__(self, *given: Any, rejected: RejectedRequests, **named: Any) -> None:
        super().__init__(*given, **named)
        self._rejected = rejected
        self._in_head = self._unfinished = False
        """Whether headers, and whether anything of a request, is yet to come."""
        self._piece = 0
        """Bytes of what was received last."""
        self._head_size = self._first_piece = 0
        """Bytes of the pieces that the head is in, which are at least its own, and of the first of them."""
        self._padding = 0
        """Bytes beside a body since its last chunk: of a chunk's extension, or of a trailer."""
        self._deadline: asyncio.TimerHandle | None = None
        self._status = 400
        """To answer when the parser stops."""
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._piece = len(data)
        if self._in_head:
            self._head_size += self._piece
        elif self._unfinished:
            self._padding += self._piece
        super().data_received(data)
        if self._refused:
            return
        if self._unfinished:
            self._received_part()
        elif self.cycle is None or self.cycle.response_complete:
            # Blank lines before a request end uvicorn's wait for one, and begin none.
            self._await_request()

    def _await_request(self) -> None:
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _received_part(self) -> None:
        if self._in_head:
            # Of the first piece it is not known how much belongs to the request before.
            if self._head_size - self._first_piece > MAX_HEAD:
                self._refuse(self._too_large())
                return
        elif self._padding > MAX_HEAD:
            self._refuse(431)
            return
        elif not self.cycle.response_complete:
            # A body that the application reads, within the time of its request.
            return
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._on_deadline)

    def _on_deadline(self) -> None:
        self._deadline = None
        if self.flow.read_paused:
            # It is we who do not read, while requests before this one are answered.
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._on_deadline)
        elif self._in_head:
            self._refuse(408)
        else:
            self.transport.close()

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = self._unfinished = True
        self._first_piece = self._head_size = self._piece
        self.scope[IS_DISCONNECTED] = self.transport.is_closing  # type: ignore[typeddict-unknown-key]

    def on_headers_complete(self) -> None:
        if self._head_size > MAX_HEAD and self._size() > MAX_HEAD:
            self._status = self._too_large()
            raise _Refused
        if len(self.headers) > MAX_FIELDS:
            self._status = 431
            raise _Refused
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Refused
        self._in_head = False
        self._padding = 0
        if self._deadline is not None:
            self._end_deadline()
        super().on_headers_complete()
        # The parser gives the fields of a trailer to the same callback. In the request's headers, where a
        # client may write, an X-Forwarded-For among them would count as the load balancer's.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        self._padding -= len(body)
        super().on_body(body)

    def on_chunk_complete(self) -> None:
        self._padding = 0

    def on_message_complete(self) -> None:
        self._unfinished = False
        if self._deadline is not None:
            self._end_deadline()
        super().on_message_complete()

    def _size(self) -> int:
        """Bytes of the head as it would have been sent without a needless blank."""
        request_line = len(self.parser.get_method()) + len(self.url) + len(b"  HTTP/1.1\r\n")
        return request_line + sum(len(name) + len(value) + len(b": \r\n") for name, value in self.headers) + 2

    def _too_large(self) -> int:
        return 414 if len(self.url) > MAX_HEAD else 431

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the signature of what it replaces
        """Called for whatever stops the parser, our own refusals included."""
        self._refuse(self._status)

    def _refuse(self, status: int) -> None:
        self._refused = True
        self._end_deadline()
        self._rejected.too_large += status in (414, 431)
        self._rejected.too_late += status == 408
        self._rejected.malformed += status == 400
        log.info("request refused", status=status, peer=self.client[0] if self.client else None)
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(_ANSWERS[status])
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        elif self._in_head or not self._unfinished:
            # The answers to the requests before this one come first, and after the last of them there is no other.
            self.cycle.keep_alive = False
        else:
            # The body of the request that is being answered.
            if not self.cycle.response_started and not self.pipeline:
                self.transport.write(_ANSWERS[status])
            self.transport.close()


def _answer(status: int, detail: str) -> bytes:
    # Which path it was about is not known, or too long to say.
    document = HttpError(status, detail).document(instance="about:blank")
    body = json.dumps(document).encode()
    head = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\ncache-control: no-store\r\nconnection: close"
    return STATUS_LINE[status] + head.encode() + b"\r\n\r\n" + body


_ANSWERS: Final = {
    400: _answer(400, "this is not a request of HTTP/1.1"),
    408: _answer(408, f"the headers did not come within {HEAD_SECONDS:g} s"),
    414: _answer(414, f"request line and headers may have at most {MAX_HEAD:,} bytes in all"),
    431: _answer(431, f"at most {MAX_FIELDS} headers, with the request line at most {MAX_HEAD:,} bytes in all"),
}
