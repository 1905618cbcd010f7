"""What tasks log in to Postgres with: URLs, libpq's variables, and what the bootstrap task makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pulumi

from infra.aws.naming import description
from infra.aws.secrets import Safe, StoredSecret
from infra.component import Component
from infra.contracts import Login, PostgresEndpoint, SecretRef, TaskSpec
from infra.workload import LIBPQ

CA_BUNDLE: Final = "/etc/ssl/certs/rds-global-bundle.pem"
"""In the application image: the authorities of RDS in every region, which no public trust store has."""
BOOTSTRAP_SECRETS: Final = ("BOOTSTRAP_MASTER", "BOOTSTRAP_PLAN")
LIBPQ_OPTIONAL: Final = ("PGSSLROOTCERT", "PGCHANNELBINDING", "PGOPTIONS")
_UNSAID: Final = {
    **dict.fromkeys((*LIBPQ, *LIBPQ_OPTIONAL), ""),
    "PGSSLMODE": "require",
    "PGCHANNELBINDING": "prefer",
}
"""What libpq gets where a URL has no such part. An empty variable counts as not set."""


def url_secret(owner: Component, login: str, url: pulumi.Input[str], safe: Safe) -> StoredSecret:
    """`DATABASE_URL` of a login, kept for the tasks."""
    return StoredSecret(
        owner,
        f"{login}-url",
        url,
        variable="DATABASE_URL",
        safe=safe,
        description=description(f"database URL of login {login}"),
    )


def libpq_secrets(owner: Component, values: pulumi.Output[Mapping[str, str]], safe: Safe) -> dict[str, SecretRef]:
    """libpq's variables, as keys of one secret's JSON."""
    names = (*LIBPQ, *LIBPQ_OPTIONAL)
    text = values.apply(lambda known: {name: known.get(name, _UNSAID[name]) for name in names})
    stored = StoredSecret(
        owner,
        "backup-login",
        pulumi.Output.json_dumps(text, sort_keys=True),
        variable="PGPASSWORD",
        safe=safe,
        description=description("what pg_dump logs in with"),
    )
    return {name: SecretRef(name=name, value=_member(stored.value, name)) for name in names}


def bootstrap_plan(
    owner: Component, endpoint: PostgresEndpoint, *, owner_role: str, logins: Mapping[str, Login], safe: Safe
) -> SecretRef:
    """What `app.bootstrap` makes: `logins` are ``migrate``, the slots ``a`` and ``b``, ``backup`` and, once there was a
    step, ``backup2``.

    A changed password is a new version of the secret, hence another run of the task.
    """
    plain = {login: {"user": who.user, "password": who.password} for login, who in logins.items()}
    plan = {
        "host": endpoint.host,
        "port": pulumi.Output.from_input(endpoint.port).apply(int),
        "database": endpoint.database,
        "sslmode": endpoint.sslmode,
        "sslrootcert": endpoint.options.get("sslrootcert"),
        "owner": owner_role,
        "migrate": plain["migrate"],
        "backup": plain["backup"],
        "app": [plain["a"], plain["b"]],
        **({"backup2": plain["backup2"]} if "backup2" in plain else {}),
    }
    return StoredSecret(
        owner,
        "bootstrap-plan",
        pulumi.Output.json_dumps(plan, sort_keys=True),
        variable="BOOTSTRAP_PLAN",
        safe=safe,
        description=description("owner and logins of the database"),
    )


def bootstrap_task(migrate: TaskSpec) -> TaskSpec:
    """The bootstrap as a task of the application image: as large as the migration, which it goes before."""
    return TaskSpec(
        name="bootstrap",
        mode=None,
        command=("python", "-m", "app.bootstrap"),
        environment={},
        secrets=BOOTSTRAP_SECRETS,
        database_login="migrate",
        timeout=600,
        cpu=migrate.cpu,
        memory=migrate.memory,
    )


def _member(address: pulumi.Output[str], key: str) -> pulumi.Output[str]:
    """``valueFrom`` of one key of a secret's JSON, out of the one of the whole: ``arn:<key>::<version>``."""

    def point(text: str) -> str:
        *arn, _key, stage, version = text.split(":")
        return ":".join([*arn, key, stage, version])

    return address.apply(point)
