"""Postgres on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from infra.component import ComponentArgs
from infra.contracts import Login, PostgresEndpoint
from infra.local.component import LocalComponent
from infra.local.resources import DatabaseRolesResource, PostgresServerResource
from infra.rotation import Slots, keepers, password, slot_passwords

PASSWORD_LENGTH = 32
"""Letters and digits: 190 bits."""


@dataclass(frozen=True, kw_only=True)
class PostgresArgs(ComponentArgs):
    """`slots` says which of the two application logins is in use, and the generation of each one's password; `migrate`
    and `master` are the generations of the other two."""

    database: pulumi.Input[str]
    owner_role: pulumi.Input[str]
    slots: Slots
    migrate: int = 1
    master: int = 1
    port: pulumi.Input[int] | None = None
    """None: a free one, which is then kept."""
    max_connections: pulumi.Input[int] = 100


class Postgres(LocalComponent):
    """A Postgres server, its database and its logins.

    Creates: the server process under a supervisor, with its data in ``.slipway/<stack>/postgres``; the database; an
    owner without login; the logins ``<database>_migrate``, ``<database>_a`` and ``<database>_b``; a random password
    each. Costs: about 40 MB of memory and 60 MB of disk at the start. Exports: `endpoint`, with the logins ``app`` (the
    slot in use) and ``migrate``. Replaces: nothing ever. A changed port or size restarts the server, a rotation changes
    the password of the idle slot, another `database` is made beside the old one. Deleting it stops the server and keeps
    the data.
    """

    endpoint: PostgresEndpoint

    def __init__(self, name: str, args: PostgresArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("Postgres", name, opts, args.transforms)
        admin = password(self, "admin", keepers(args.master), length=PASSWORD_LENGTH)
        migrate = password(self, "migrate", keepers(args.migrate), length=PASSWORD_LENGTH)
        app = slot_passwords(self, args.slots, length=PASSWORD_LENGTH)
        users = {role: pulumi.Output.concat(args.database, "_", role) for role in ("migrate", "a", "b", "app")}

        server = self.inner(
            "server",
            PostgresServerResource,
            {
                "folder": self.folder("postgres"),
                "password": admin,
                "port": args.port,
                "max_connections": args.max_connections,
            },
        )
        roles = self.inner(
            "roles",
            DatabaseRolesResource,
            {
                "folder": self.folder("postgres"),
                "host": server.host,
                "port": server.port,
                "admin_password": admin,
                "database": args.database,
                "owner": args.owner_role,
                "application": users["app"],
                "migrators": _logins({"migrate": migrate}, args.database),
                "logins": _logins(app, args.database),
            },
        )
        active = args.slots.active
        self.endpoint = PostgresEndpoint(
            host=roles.host,
            port=roles.port,
            database=roles.database,
            sslmode="disable",
            logins={
                "app": Login(user=users[active], password=app[active]),
                "migrate": Login(user=users["migrate"], password=migrate),
            },
        )
        self.finish({"host": self.endpoint.host, "port": self.endpoint.port})


def _logins(passwords: Mapping[str, pulumi.Output[str]], database: pulumi.Input[str]) -> pulumi.Output[dict[str, str]]:
    """User name -> password."""

    def named(values: dict[str, str]) -> dict[str, str]:
        prefix = values.pop("")
        return {f"{prefix}_{role}": password for role, password in values.items()}

    return pulumi.Output.all(**passwords, **{"": database}).apply(named)
