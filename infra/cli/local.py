"""What the commands about running processes share."""

from __future__ import annotations

from infra.cli.context import Context
from infra.cli.exits import CommandError

_ELSEWHERE = {
    "docker": "docker ps, docker logs",
    "aws": "the ECS console or `aws ecs describe-services`, and CloudWatch Logs",
    "digitalocean": "`doctl apps list`, `doctl apps logs`",
}


def require_local(context: Context, command: str) -> None:
    """Raise CommandError, with where to look instead, when the stack does not run on this machine."""
    target = context.target
    if target == "local":
        return
    where = _ELSEWHERE.get(target, "the target's own tools")
    raise CommandError(
        f"`slipway {command}` looks at processes of this machine, "
        f"and stack {context.stack!r} runs on {target}: use {where}"
    )
