"""Valkey on ElastiCache: the replication group and its two users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from infra.aws.alarms.monitored import MonitoredRedis
from infra.aws.engine_version import engine_version
from infra.aws.naming import description, identifier
from infra.aws.secrets import Safe, StoredSecret
from infra.component import Component, ComponentArgs
from infra.contracts import ExternalRedis, RedisEndpoint, SecretRef
from infra.rotation import Slots, keepers, password, slot_passwords

ENGINE: Final = "valkey"
APPLICATION: Final = "on ~* &* +@all -@admin +client"
"""What RQ and its tools use: everything but administration; CLIENT for the names and lists of workers."""
NOBODY: Final = "off -@all"
"""The user ``default``: clients that give a password without a name would be it."""
PASSWORD_LENGTH: Final = 64
"""Letters and digits; ElastiCache takes 16 to 128."""
LOGS: Final = ("slow-log", "engine-log")
_LONGEST_ID: Final = 38
"""Characters: ElastiCache allows 40 for the group, and the users' ids are two longer."""
_TIMEOUTS: Final = pulumi.CustomTimeouts(create="60m", update="90m", delete="60m")


@dataclass(frozen=True, kw_only=True)
class RedisArgs(ComponentArgs):
    """`slots` says which of the two application users is in use, and the generation of each one's password."""

    subnet_ids: Sequence[pulumi.Input[str]]
    security_group_id: pulumi.Input[str]
    slots: Slots
    master: int = 1
    """Generation of the password of the disabled user ``default``."""
    version: str
    """``8.2``: major and minor."""
    lower_permitted: bool = False
    """A permit lets `version` go below the one that was asked for last."""
    size: str
    high_availability: bool = True
    """A replica in another zone that takes over."""
    port: int = 6379
    snapshot_days: int = 7
    snapshot_window: str = "02:00-03:00"
    maintenance_window: str = "sun:05:30-sun:06:30"
    protect: bool = True
    """A last snapshot before it goes."""
    log_retention_days: int = 30
    key: pulumi.Input[str] | None = None
    """KMS key of data, logs and secrets; None: AWS's own."""
    recovery_window: int = 30


class Redis(Component):
    """A Valkey replication group without cluster mode, in which RQ's transactions over several keys work.

    Nothing is evicted: a full server refuses new jobs, which then wait in Postgres. Each client has a name and a
    password (RBAC): of two users one is in use, and a rotation changes the other, so that no connection breaks. The
    older single password (AUTH) cannot do that without a second rollout, and ElastiCache keeps no names with it.

    Creates: the group (TLS only, encrypted, one node or two in two zones), subnet group, parameter group of its
    family, the users and their group, log groups, a random password for each user, a secret with the URL.

    Costs at its defaults: 37 USD a month for two cache.t4g.small, 0.40 USD for the secret; further snapshots 0.085 USD
    a GB and month.

    Exports: `endpoint` of the user in use; `secret`; `monitored`.

    Replaces: another `key` or `port` makes another group; the sweeper refills the queue from Postgres. Size and a
    higher version change in place and at once, with a failover where there is a replica; a lower version is refused.
    """

    endpoint: RedisEndpoint
    secret: SecretRef
    """`REDIS_URL`."""
    monitored: MonitoredRedis

    def __init__(self, name: str, args: RedisArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:Redis", name, opts, args.transforms)
        self._args = args
        passwords = slot_passwords(self, args.slots, length=PASSWORD_LENGTH)
        keepers: dict[str, pulumi.Input[str]] = {"port": str(args.port)}
        if args.key is not None:
            keepers["key"] = args.key
        named = identifier(self, "group", "redis", limit=_LONGEST_ID, keepers=keepers)

        rising = engine_version(
            self, "group", setting="redis.version", version=args.version, lower_permitted=args.lower_permitted
        )

        subnets = self.inner(
            "subnets",
            aws.elasticache.SubnetGroup,
            {"subnet_ids": list(args.subnet_ids), "description": description("cache")},
        )
        parameters = self._parameters(rising)
        users = self._user_group(named, passwords)
        logs = self._log_groups(named)
        group = self.inner(
            "group",
            aws.elasticache.ReplicationGroup,
            {
                **self._properties(named),
                "subnet_group_name": subnets.name,
                "parameter_group_name": parameters.name,
                "user_group_ids": [users.user_group_id],
                "log_delivery_configurations": [
                    {
                        "log_type": log,
                        "log_format": "json",
                        "destination_type": "cloudwatch-logs",
                        "destination": logs[log].name,
                    }
                    for log in LOGS
                ],
            },
            custom_timeouts=_TIMEOUTS,
        )
        self.endpoint = RedisEndpoint(
            host=group.primary_endpoint_address,
            port=args.port,
            tls=True,
            username=_user_name(args.slots.active),
            password=passwords[args.slots.active],
        )
        self.secret = _url_secret(self, self.endpoint.url(), Safe(key=args.key, recovery_window=args.recovery_window))
        # ElastiCache numbers the nodes of a group so, and says it in no other way before they exist.
        nodes = range(1, (2 if args.high_availability else 1) + 1)
        members = tuple(pulumi.Output.concat(group.replication_group_id, f"-{node:03}") for node in nodes)
        self.monitored = MonitoredRedis(member_ids=members)
        self.finish({"group_id": group.replication_group_id, "host": group.primary_endpoint_address, "port": args.port})

    def _properties(self, named: pulumi.Output[str]) -> dict[str, Any]:
        args = self._args
        return {
            "replication_group_id": named,
            "description": description("queue"),
            "engine": ENGINE,
            "engine_version": args.version,
            "node_type": args.size,
            "port": args.port,
            "cluster_mode": "disabled",
            "num_cache_clusters": 2 if args.high_availability else 1,
            "automatic_failover_enabled": args.high_availability,
            "multi_az_enabled": args.high_availability,
            "security_group_ids": [args.security_group_id],
            "transit_encryption_enabled": True,
            "transit_encryption_mode": "required",
            "at_rest_encryption_enabled": True,
            "kms_key_id": args.key,
            # `version` names the minor: one that ElastiCache moved by itself would read as a lower one afterwards, for
            # which the provider makes another group.
            "auto_minor_version_upgrade": False,
            # Nothing that is lost here is lost: waiting for a window would only make `up` say what is not so.
            "apply_immediately": True,
            "maintenance_window": args.maintenance_window,
            "snapshot_retention_limit": args.snapshot_days,
            "snapshot_window": args.snapshot_window if args.snapshot_days else None,
            "final_snapshot_identifier": pulumi.Output.concat(named, "-final") if args.protect else None,
        }

    def _parameters(self, rising: pulumi.Resource) -> aws.elasticache.ParameterGroup:
        family = f"{ENGINE}{self._args.version.split('.')[0]}"
        return self.inner(
            # The family is in the name: at an upgrade, the new group is there before the old one goes.
            f"parameters-{family}",
            aws.elasticache.ParameterGroup,
            {
                "family": family,
                "description": description("server parameters"),
                # The default evicts keys that have an end of life, as RQ's jobs and results have.
                "parameters": [{"name": "maxmemory-policy", "value": "noeviction"}],
            },
            depends_on=[rising],
        )

    def _user_group(
        self, named: pulumi.Output[str], passwords: Mapping[str, pulumi.Output[str]]
    ) -> aws.elasticache.UserGroup:
        """Both users and the disabled default one, in a group that never changes: adding members to one in use fails
        now and then."""
        nobody = password(self, "nobody", keepers(self._args.master), length=PASSWORD_LENGTH)
        wanted = {
            "default": ("default", NOBODY, nobody),
            "a": (_user_name("a"), APPLICATION, passwords["a"]),
            "b": (_user_name("b"), APPLICATION, passwords["b"]),
        }
        users: list[aws.elasticache.User] = []
        for role, (user_name, access, secret) in wanted.items():
            users.append(
                self.inner(
                    f"user-{role}",
                    aws.elasticache.User,
                    {
                        "user_id": pulumi.Output.concat(named, f"-{role[0]}"),
                        "user_name": user_name,
                        "engine": ENGINE,
                        "access_string": access,
                        "authentication_mode": {"type": "password", "passwords": [secret]},
                    },
                    # One after the other: while one changes, ElastiCache refuses the next (InvalidUserState).
                    depends_on=users[-1:],
                )
            )
        return self.inner(
            "users",
            aws.elasticache.UserGroup,
            {"user_group_id": named, "engine": ENGINE, "user_ids": [user.user_id for user in users]},
        )

    def _log_groups(self, named: pulumi.Output[str]) -> dict[str, aws.cloudwatch.LogGroup]:
        return {
            log: self.inner(
                log,
                aws.cloudwatch.LogGroup,
                {
                    "name": pulumi.Output.concat("/aws/elasticache/", named, "/", log),
                    "retention_in_days": self._args.log_retention_days,
                    "kms_key_id": self._args.key,
                },
            )
            for log in LOGS
        }


@dataclass(frozen=True, kw_only=True)
class ExternalRedisArgs(ComponentArgs):
    """The URL from stack config."""

    url: pulumi.Input[str] = field(repr=False)
    key: pulumi.Input[str] | None = None
    recovery_window: int = 30


class ExternalRedisSecret(Component):
    """The URL of a Redis that somebody else runs, kept for the tasks.

    Creates: a secret. Costs: 0.40 USD a month. Exports: `endpoint`, `secret`. Replaces: nothing.
    """

    endpoint: ExternalRedis
    secret: SecretRef
    monitored: Final = None

    def __init__(self, name: str, args: ExternalRedisArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:ExternalRedis", name, opts, args.transforms)
        self.endpoint = ExternalRedis(address=args.url)
        self.secret = _url_secret(self, self.endpoint.url(), Safe(key=args.key, recovery_window=args.recovery_window))
        self.finish({})


def _url_secret(owner: Component, url: pulumi.Output[str], safe: Safe) -> SecretRef:
    return StoredSecret(owner, "url", url, variable="REDIS_URL", safe=safe, description=description("Redis URL"))


def _user_name(slot: str) -> str:
    return f"app_{slot}"
