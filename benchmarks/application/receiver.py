"""Where deliveries go, in a process of its own: answers 200, keeps connections, notes each webhook-id in a file.

`python -m benchmarks.application.receiver PORT FILE DELAY_MILLISECONDS`; the file has the form of
the jobs' own (benchmarks.application.jobs): `S id time pid` when a request has come, `E …` when it is answered.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import cast

import uvloop

from benchmarks.application.http import Messages, closes, header

_ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'


class Receiver(asyncio.Protocol):
    def __init__(self, file: int, delay: float) -> None:
        self._file, self._delay = file, delay
        self._messages = Messages()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        for head, _ in self._messages.feed(data):
            name = (header(head, b"\r\nwebhook-id:") or b"-").decode()
            self._note("S", name)
            if self._delay:
                asyncio.get_running_loop().call_later(self._delay, self._answer, name, closes(head))
            else:
                self._answer(name, closes(head))

    def _answer(self, name: str, last: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(_ANSWER)
        self._note("E", name)
        if last:
            self._transport.close()

    def _note(self, event: str, name: str) -> None:
        if name != "-":
            os.write(self._file, f"{event} {name} {time.time():.6f} {os.getpid()}\n".encode())


async def serve(port: int, path: str, delay: float) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Receiver(file, delay), "127.0.0.1", port, backlog=512)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]) / 1000))
