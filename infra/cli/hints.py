"""What to try next, printed after an `up`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_RECEIVER_PORT: Final = 9000
_RECEIVER: Final = (
    "import http.server as h; h.HTTPServer(('127.0.0.1', %d), type('H', (h.BaseHTTPRequestHandler,), {'do_POST': "
    "lambda s: (print(s.rfile.read(int(s.headers['Content-Length']))), s.send_response(204), s.end_headers())}))"
    ".serve_forever()"
)
"""A webhook receiver in one line: it prints what it gets."""


def command_name(started_as: str) -> str:
    """How the reader can call this command: by name where PATH finds it, else as it was started.

    `make up` starts `.venv/bin/slipway`, which is on nobody's PATH in a fresh clone.
    """
    return started_as if Path(started_as).name == "slipway" and shutil.which("slipway") is None else "slipway"


def next_steps(*, stack: str, target: str, outputs: Mapping[str, Any], first: bool, command: str = "slipway") -> str:
    """The URLs of the stack and, after its `first` update, commands to paste; empty when it has no URL."""
    url = outputs.get("url")
    if not isinstance(url, str) or not url.startswith("http"):
        return ""
    url = url.rstrip("/")
    lines = ["", f"The API is at {url}"]
    if isinstance(docs := outputs.get("docs_url"), str):
        lines.append(f"Its documentation is at {docs}")
    if target == "local" and first:
        notices = outputs.get("notices")
        lines += [f"Note: {notice}" for notice in notices] if isinstance(notices, list) else []
        lines += ["", "Try it:", *_first_delivery(url)]
        option = "" if stack == "local" else f" --stack {stack}"
        lines += ["", "And then:", f"  {command} status{option}", f"  {command} logs -f{option}"]
    return "\n".join(lines)


def _first_delivery(url: str) -> list[str]:
    """Start a receiver, register, log in, deliver a webhook, and see the attempt."""
    json_body = "-H 'Content-Type: application/json'"
    bearer = '-H "Authorization: Bearer $TOKEN"'
    person = """'{"email": "ada@example.com", "password": "correct horse battery staple"}'"""
    delivery = f"""'{{"url": "http://127.0.0.1:{_RECEIVER_PORT}/", "payload": {{"hello": "world"}}}}'"""
    pick = """python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])'"""
    return [
        f'  python3 -c "{_RECEIVER % _RECEIVER_PORT}" &',
        f"  curl -sw '\\n' {url}/v1/auth/register {json_body} -d {person}",
        f"  TOKEN=$(curl -s {url}/v1/auth/login {json_body} -d {person} | {pick})",
        f'  curl -sw "\\n" {url}/v1/deliveries {bearer} -H "Idempotency-Key: first" {json_body} \\',
        f"    -d {delivery}",
        f'  sleep 1; curl -sw "\\n" {url}/v1/deliveries {bearer}',
    ]
