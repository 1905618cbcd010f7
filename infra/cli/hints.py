"""What to try next, told after an `up`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def next_steps(*, stack: str, target: str, outputs: Mapping[str, Any]) -> str:
    """The URLs of the stack, and commands to paste for a first try; empty when it gives no URL."""
    url = outputs.get("url")
    if not isinstance(url, str) or not url.startswith("http"):
        return ""
    url = url.rstrip("/")
    lines = ["", f"The API is at {url}"]
    if isinstance(docs := outputs.get("docs_url"), str):
        lines.append(f"Its documentation is at {docs}")
    notices = outputs.get("notices")
    lines += [f"Note: {notice}" for notice in notices] if isinstance(notices, list) else []
    option = "" if stack == "local" else f" --stack {stack}"
    if target == "local":
        lines += ["", "Try it:", *_first_delivery(url)]
        lines += ["", "And then:", f"  slipway status{option}", f"  slipway logs -f{option}"]
    return "\n".join(lines)


def _first_delivery(url: str) -> list[str]:
    """Register, log in, deliver a webhook to the API's own health page, and see the attempt."""
    json_body = "-H 'Content-Type: application/json'"
    person = """'{"email": "ada@example.com", "password": "correct horse battery staple"}'"""
    delivery = f"""'{{"url": "{url}/health/live", "payload": {{"hello": "world"}}}}'"""
    pick = """python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])'"""
    return [
        f"  curl -s {url}/v1/auth/register {json_body} -d {person}",
        f"  TOKEN=$(curl -s {url}/v1/auth/login {json_body} -d {person} | {pick})",
        f'  curl -s {url}/v1/deliveries -H "Authorization: Bearer $TOKEN" {json_body} -H "Idempotency-Key: first" \\',
        f"    -d {delivery}",
        f'  curl -s {url}/v1/deliveries -H "Authorization: Bearer $TOKEN"',
    ]
