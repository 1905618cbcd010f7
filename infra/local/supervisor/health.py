"""Is this replica working? One question, asked three ways."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.local.supervisor.child import Children


@dataclass(frozen=True)
class Verdict:
    """`reason` says what was wrong, in words for a person."""

    healthy: bool
    reason: str = ""


async def http(host: str, port: int, path: str, *, within: float) -> Verdict:
    """200 within `within` seconds. The start of another answer is part of the reason."""
    try:
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
                answer = await _read(reader)
            finally:
                writer.close()
    except TimeoutError:
        return Verdict(False, f"no answer to GET {path} within {within:g} s")
    except OSError as error:
        return Verdict(False, f"GET {path}: {error.strerror or error}")
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n")[0].decode(errors="replace")
    if status.split(" ")[1:2] == ["200"]:
        return Verdict(True)
    return Verdict(False, f"GET {path} answered {status or 'nothing'}: {body[:300].decode(errors='replace').strip()}")


async def _read(reader: asyncio.StreamReader) -> bytes:
    """The answer, or its first 4 KiB."""
    try:
        return await reader.readexactly(4096)
    except asyncio.IncompleteReadError as end:
        return end.partial


async def tcp(host: str, port: int, *, within: float) -> Verdict:
    """A connection is accepted within `within` seconds."""
    try:
        async with asyncio.timeout(within):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Verdict(False, f"port {port} did not accept within {within:g} s")
    except OSError as error:
        return Verdict(False, f"port {port}: {error.strerror or error}")
    writer.close()
    return Verdict(True)


async def command(
    children: Children, argv: Sequence[str], *, environment: Mapping[str, str], cwd: str, within: float
) -> Verdict:
    """The command exits 0 within `within` seconds. Its last line is the reason when it does not."""
    last = [""]

    def keep(line: bytes) -> None:
        last[0] = line.decode(errors="replace")

    try:
        child = children.spawn(argv, environment=environment, cwd=cwd, on_line=keep)
    except OSError as error:
        return Verdict(False, f"{argv[0]}: {error.strerror}")
    try:
        code = await child.wait(within)
    except TimeoutError:
        return Verdict(False, f"the health command took longer than {within:g} s")
    finally:
        await child.stop(9, 0)
    await child.drained()
    return Verdict(code == 0, "" if code == 0 else f"the health command exited with {code}: {last[0]}")
