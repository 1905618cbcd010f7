"""Who may talk to whom: one security group for each role, and rules that name groups, not addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import pulumi
import pulumi_aws as aws

from infra.aws.naming import name_tag
from infra.component import Component

Role = Literal["balancer", "api", "worker", "migrate", "backup", "postgres", "redis", "endpoints"]
Peer = Role | Literal["v4", "v6", "network"]
"""A group, the whole internet, or any address of the network."""

WORLD: Final[Mapping[str, str]] = {"v4": "0.0.0.0/0", "v6": "::/0"}
TASKS: Final[tuple[Role, ...]] = ("api", "worker", "migrate", "backup")
"""The roles of containers. Each fetches its image, secrets and log stream over HTTPS."""

POSTGRES_PORT: Final = 5432
REDIS_PORT: Final = 6379
HTTP: Final = 80
HTTPS: Final = 443
FIRST_USER_PORT: Final = 1024

PURPOSE: Final[Mapping[Role, str]] = {
    "balancer": "Load balancer",
    "api": "API tasks",
    "worker": "Worker tasks",
    "migrate": "Migration task",
    "backup": "Dump task",
    "postgres": "Postgres",
    "redis": "Redis",
    "endpoints": "Interface endpoints",
}
"""Descriptions. Another text would replace the group, so that it is a constant."""

_USERS: Final[Mapping[Role, tuple[Role, ...]]] = {
    "postgres": ("api", "worker", "migrate", "backup"),
    "redis": ("api", "worker"),
    "endpoints": TASKS,
}
"""Which tasks use which server."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """What the rules depend on besides the roles."""

    api_port: int
    postgres_port: int | None = POSTGRES_PORT
    """None: the database is not in this network."""
    redis_port: int | None = REDIS_PORT
    outside_ports: Mapping[Role, Sequence[int]] = field(default_factory=dict)
    """Further ports of servers outside the network that a role of tasks may reach: an external database."""
    deliver_http: bool = False
    """Webhooks go to plain HTTP too."""
    delivering: tuple[Role, ...] = ("worker",)
    """The roles that send webhooks: to port 443, and to any port that an unprivileged server may have."""
    endpoints: bool = False
    """There are interface endpoints to reach."""
    scraped: Mapping[Role, Sequence[int]] = field(default_factory=dict)
    """Ports with metrics, open to whatever is in the network: a Prometheus there has no group that we know of."""
    network: str | None = None
    """Address range of the network; needed with `scraped`."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """TCP on the ports from `first` to `last`, one way: into `group` from `peer`, or out of it to `peer`."""

    group: Role
    direction: Literal["in", "out"]
    peer: Peer
    first: int
    last: int

    @property
    def role(self) -> str:
        """Its name within the component: ``api-in-balancer-3000``."""
        ports = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.group}-{self.direction}-{self.peer}-{ports}"


def rules(access: Access) -> tuple[Rule, ...]:
    """Every rule of the network. What is not in here is closed, both ways."""
    return tuple(dict.fromkeys(_rules(access)))


def roles(access: Access) -> tuple[Role, ...]:
    """The groups that the network has."""
    return tuple(role for role in PURPOSE if role != "endpoints" or access.endpoints)


def _rules(access: Access) -> Iterator[Rule]:
    for family in ("v4", "v6"):
        for port in (HTTP, HTTPS):
            yield _single("balancer", "in", family, port)
    yield from _link("balancer", "api", access.api_port)
    for server, port in _servers(access).items():
        for user in _USERS[server]:
            yield from _link(user, server, port)
    for task, ports in access.scraped.items():
        for port in ports:
            yield _single(task, "in", "network", port)
    for task in TASKS:
        # Registry, Secrets Manager, logs and S3 have no fixed addresses.
        yield _single(task, "out", "v4", HTTPS)
        for port in access.outside_ports.get(task, ()):
            yield _single(task, "out", "v4", port)
    for task in access.delivering:
        # The application itself refuses private and local addresses; the network cannot tell a receiver from another.
        yield Rule(group=task, direction="out", peer="v4", first=FIRST_USER_PORT, last=65535)
        if access.deliver_http:
            yield _single(task, "out", "v4", HTTP)


def _servers(access: Access) -> dict[Role, int]:
    ports: dict[Role, int | None] = {
        "postgres": access.postgres_port,
        "redis": access.redis_port,
        "endpoints": HTTPS if access.endpoints else None,
    }
    return {role: port for role, port in ports.items() if port is not None}


def _link(client: Role, server: Role, port: int) -> Iterator[Rule]:
    yield _single(client, "out", server, port)
    yield _single(server, "in", client, port)


def _single(group: Role, direction: Literal["in", "out"], peer: Peer, port: int) -> Rule:
    return Rule(group=group, direction=direction, peer=peer, first=port, last=port)


@dataclass(frozen=True, kw_only=True)
class SecurityGroups:
    """Ids of the groups."""

    balancer: pulumi.Output[str]
    api: pulumi.Output[str]
    worker: pulumi.Output[str]
    migrate: pulumi.Output[str]
    backup: pulumi.Output[str]
    postgres: pulumi.Output[str]
    redis: pulumi.Output[str]
    endpoints: pulumi.Output[str] | None = None


def security_groups(parent: Component, vpc_id: pulumi.Input[str], access: Access) -> SecurityGroups:
    """Make the groups and rules as inner resources of `parent`.

    Each rule is a resource of its own: rules inside a group and beside it overwrite each other on every run. A group
    made without rules loses the one that AWS gives it, which lets everything out.
    """
    groups = {
        role: parent.inner(
            f"{role}-group",
            aws.ec2.SecurityGroup,
            {"vpc_id": vpc_id, "description": PURPOSE[role], "tags": name_tag(role)},
        )
        for role in roles(access)
    }
    for rule in rules(access):
        kind = aws.vpc.SecurityGroupIngressRule if rule.direction == "in" else aws.vpc.SecurityGroupEgressRule
        parent.inner(
            rule.role,
            kind,
            {
                "security_group_id": groups[rule.group].id,
                "ip_protocol": "tcp",
                "from_port": rule.first,
                "to_port": rule.last,
                **_peer(rule.peer, groups, access.network),
            },
        )
    return SecurityGroups(**{role: group.id for role, group in groups.items()})


def _peer(peer: Peer, groups: Mapping[Role, aws.ec2.SecurityGroup], network: str | None) -> dict[str, object]:
    if peer == "network":
        return {"cidr_ipv4": network}
    if peer == "v4":
        return {"cidr_ipv4": WORLD["v4"]}
    if peer == "v6":
        return {"cidr_ipv6": WORLD["v6"]}
    return {"referenced_security_group_id": groups[peer].id}
