"""Redis (Valkey) on this machine."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra.component import ComponentArgs
from infra.contracts import RedisEndpoint
from infra.local.component import LocalComponent
from infra.local.postgres import PASSWORD_LENGTH
from infra.local.resources import ValkeyServerResource
from infra.rotation import Slots, keepers, password, slot_passwords


@dataclass(frozen=True, kw_only=True)
class RedisArgs(ComponentArgs):
    """`slots` says which of the two application users is in use, and the generation of each one's password; `master`
    is the generation of the administrator's."""

    slots: Slots
    master: int = 1
    port: pulumi.Input[int] | None = None
    """None: a free one, which is then kept."""
    memory: pulumi.Input[int] | None = None
    """Most bytes of data; None: no limit."""


class Redis(LocalComponent):
    """A Valkey server with an append-only file, which refuses writes when it is full and evicts nothing.

    Creates: the server process under a supervisor, with its data in ``.slipway/<stack>/redis``; the users ``app_a``
    and ``app_b``; a random password each, and one for administration. Costs: about 10 MB of memory. Exports:
    `endpoint`, for the user in use. Replaces: nothing ever. A changed port or size restarts the server, a rotation
    changes the password of the idle user and disturbs no connection. Deleting it stops the server and keeps the data.
    """

    endpoint: RedisEndpoint

    def __init__(self, name: str, args: RedisArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("Redis", name, opts, args.transforms)
        admin = password(self, "admin", keepers(args.master), length=PASSWORD_LENGTH)
        passwords = slot_passwords(self, args.slots, length=PASSWORD_LENGTH)
        users = {f"app_{slot}": made for slot, made in passwords.items()}
        server = self.inner(
            "server",
            ValkeyServerResource,
            {
                "folder": self.folder("redis"),
                "admin_password": admin,
                "users": users,
                "port": args.port,
                "max_memory": args.memory,
            },
        )
        active = f"app_{args.slots.active}"
        self.endpoint = RedisEndpoint(
            host=server.host, port=server.port, tls=False, username=active, password=users[active]
        )
        self.finish({"host": server.host, "port": server.port})
