"""Postgres that somebody else runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pulumi

from infra.aws.postgres_logins import libpq_secrets, url_secret
from infra.aws.secrets import Safe
from infra.component import Component, ComponentArgs
from infra.contracts import ExternalPostgres, SecretRef


@dataclass(frozen=True, kw_only=True)
class ExternalPostgresArgs(ComponentArgs):
    """URLs from stack config by login; ``app`` stands in for one that is not given."""

    urls: Mapping[str, pulumi.Input[str]] = field(repr=False)
    key: pulumi.Input[str] | None = None
    recovery_window: int = 30


class ExternalPostgresSecrets(Component):
    """The URLs of a database that somebody else runs (Neon, Supabase, any other), kept for the tasks.

    Creates: a secret for each of the logins ``app``, ``migrate`` and ``backup``. Costs: 1.20 USD a month. Exports the
    same as `Postgres` where it has a meaning. Replaces: nothing; another URL is another version of its secret.
    """

    endpoint: ExternalPostgres
    bootstrap: Mapping[str, SecretRef]
    """Empty: the given logins exist."""
    libpq: Mapping[str, SecretRef]
    monitored: Final = None
    """AWS has no figures of it."""

    def __init__(self, name: str, args: ExternalPostgresArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:ExternalPostgres", name, opts, args.transforms)
        safe = Safe(key=args.key, recovery_window=args.recovery_window)
        self.endpoint, self.bootstrap = ExternalPostgres(urls=args.urls), {}
        self._urls = {login: url_secret(self, login, self.endpoint.url(login), safe) for login in ("app", "migrate")}
        # A dump wants a session of its own, as migrations do: a pooler hands each statement to another one.
        login = "backup" if "backup" in args.urls else "migrate"
        self.libpq = libpq_secrets(self, self.endpoint.libpq(login), safe)
        self.finish({})

    def secret(self, login: str) -> SecretRef:
        """`DATABASE_URL` of that login."""
        return self._urls[login]
