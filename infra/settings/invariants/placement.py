"""What can run where: targets, providers, regions, versions."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final

from infra.settings import tables
from infra.settings.defaults import OWN_PROVIDER
from infra.settings.invariants.broken import Broken, Context, Found, missing, needless, only
from infra.settings.invariants.urls import URLS
from infra.settings.rules import nearest

PROVIDERS: Final = {target: (own, "external") for target, own in OWN_PROVIDER.items()}
"""Providers of Postgres and Redis that work with each target, its own first."""

_WHY_NOT: Final[Mapping[str, str]] = {
    "aws": "RDS and ElastiCache are reachable from inside their VPC only",
    "digitalocean": "a managed cluster opens to its own network and to named apps only",
    "docker": "a container with a volume needs one host that stays",
    "embedded": "the embedded server is a process of this machine that listens on loopback only",
}


def providers(context: Context) -> Found:
    """Postgres and Redis must be reachable from where the application runs."""
    settings = context.settings
    for group, chosen in (("postgres", settings.postgres.provider), ("redis", settings.redis.provider)):
        legal = PROVIDERS[settings.target]
        if chosen not in legal:
            yield Broken(
                f"{group}.provider",
                f"does not work with target {settings.target}: {_WHY_NOT[chosen]}. "
                f"To use such a server all the same, choose external and give its URL",
                allowed=" or ".join(legal),
                suggestion=legal[0],
            )


def external_urls(context: Context) -> Found:
    """An external server needs its URL, and a URL needs an external server."""
    settings = context.settings
    for name, group in URLS.items():
        provider, given = getattr(settings, group).provider, name in settings.secrets.given
        if provider == "external" and not given and name != "migration_database_url":
            yield Broken(f"secrets.{name}", f"is required with {group}.provider external", also=(f"{group}.provider",))
        if provider != "external" and given:
            yield Broken(
                f"secrets.{name}",
                f"would not be used: {group}.provider is {provider}",
                allowed=f"leave it out, or set {group}.provider to external",
                suggestion="external",
                suggested_path=f"{group}.provider",
                also=(f"{group}.provider",),
            )


def region(context: Context) -> Found:
    """A cloud needs a region that it has; elsewhere one would mean nothing."""
    target, chosen = context.settings.target, context.settings.region
    regions = {"aws": tables.AWS_REGIONS, "digitalocean": tables.DO_REGIONS}.get(target)
    if regions is None:
        if chosen is not None:
            yield needless("region", f"means nothing with target {target}")
    elif chosen is None:
        yield missing("region", f"is required with target {target}", ", ".join(regions))
    elif chosen not in regions:
        yield _no_region("region", chosen, target, regions)


def _no_region(where: str, chosen: str, target: str, regions: tuple[str, ...]) -> Broken:
    near = nearest(chosen, regions, cutoff=0.5)
    message = f"is no region of {target}" + (f"; {near} is the nearest name" if near else "")
    return Broken(where, message, allowed=", ".join(regions), suggestion=near)


def zones(context: Context) -> Found:
    """RDS and the load balancer want two zones, all of the stack's region."""
    settings = context.settings
    if settings.target != "aws" or settings.region not in tables.AWS_REGIONS:
        return
    where, chosen = "network.zones", settings.network.zones
    if len(set(chosen)) != len(chosen) or not 2 <= len(chosen) <= 4:
        yield Broken(where, "must name 2 to 4 different zones", also=("region",))
    for zone in chosen:
        if not zone.startswith(settings.region):
            yield Broken(
                where,
                f"names {zone}, which is not in region {settings.region}",
                allowed=f"{settings.region}a, {settings.region}b, ...",
                also=("region",),
            )


def cidr(context: Context) -> Found:
    """The VPC's range must be a private network with room for the subnets."""
    where, text = "network.cidr", context.settings.network.cidr
    low, high = tables.PRIVATE_NETWORK_PREFIX.get(context.settings.target, (16, 24))
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        yield Broken(where, "is no network: its last bits must be zero", allowed="such as 10.0.0.0/16")
        return
    if not network.is_private or not low <= network.prefixlen <= high:
        yield Broken(
            where,
            "is no usable range for a VPC",
            allowed=f"a private network from /{low} to /{high}, such as 10.0.0.0/16",
        )


def existing_network(context: Context) -> Found:
    """A given VPC comes with all its subnets, and keeps its own ways out."""
    settings = context.settings
    existing, base = settings.network.existing, "network.existing"
    if settings.target != "aws" or existing == type(existing)():
        return
    if existing.vpc is None:
        yield Broken(f"{base}.vpc", "is missing, and the subnets given mean nothing without it")
    for name, least in (("public_subnets", 2), ("task_subnets", 1), ("data_subnets", 2)):
        chosen = getattr(existing, name)
        if len(set(chosen)) < least or len(set(chosen)) != len(chosen):
            yield Broken(
                f"{base}.{name}",
                f"must name {least} or more different subnets of {existing.vpc or 'the VPC'}",
                also=(f"{base}.vpc",),
            )
    theirs = ("network.zones", "network.nat", "network.flow_logs")
    yield from context.needless(theirs, "would not be used: network.existing brings its own", f"{base}.vpc")


def encryption(context: Context) -> Found:
    """One key at most; the policy of a new one names the account."""
    chosen, where = context.settings.encryption, "encryption.customer_key"
    if context.settings.target != "aws" or not chosen.customer_key:
        return
    if chosen.key_arn is not None:
        yield needless(where, "contradicts encryption.key_arn, which is a key already")
    if context.settings.account is None:
        yield missing(
            "account",
            "is required with encryption.customer_key: the key's policy names it",
            "the 12 digits of the AWS account, in quotes",
            where,
        )


def architecture(context: Context) -> Found:
    if context.settings.target == "digitalocean" and context.settings.image.architecture != "x86_64":
        yield only("image.architecture", "x86_64", "does not run on App Platform")


def image(context: Context) -> Found:
    if context.settings.target == "local" and context.settings.image.reference is not None:
        yield needless("image.reference", "would not be used: the local target runs the source in app/")


def metrics_port(context: Context) -> Found:
    """With `api.mode: all` the worker shares its container with an API."""
    settings = context.settings
    if settings.api.mode == "all" and settings.features.metrics_port == settings.api.port:
        yield Broken(
            "features.metrics_port",
            "is taken: the API of the same replica listens there",
            allowed="another port than api.port",
            suggestion="9100" if settings.api.port != 9100 else "9101",
            also=("api.mode", "api.port"),
        )


def copies(context: Context) -> Found:
    """A copy is for the day on which the region is gone: it lies in another, of the same part of AWS."""
    settings, elsewhere = context.settings, context.settings.backup.copy_region
    if settings.target != "aws" or elsewhere is None or settings.region not in tables.AWS_REGIONS:
        return
    where = "backup.copy_region"
    apart = {True: "GovCloud", False: "the commercial regions"}
    government = elsewhere.startswith("us-gov-")
    if elsewhere not in tables.AWS_REGIONS:
        yield _no_region(where, elsewhere, "aws", tables.AWS_REGIONS)
    elif elsewhere == settings.region:
        yield Broken(where, "is the stack's own region", allowed="another region", also=("region",))
    elif government != settings.region.startswith("us-gov-"):
        yield Broken(
            where,
            f"is in {apart[government]}, and nothing is copied between those and {apart[not government]}",
            allowed="another region of the same kind",
            also=("region",),
        )
    if not settings.backup.dumps:
        yield needless(where, "has nothing to copy: there are no dumps", "backup.dumps")
    for key in ("customer_key", "key_arn"):
        if getattr(settings.encryption, key):
            yield needless(
                where,
                f"cannot be had with encryption.{key}: the key belongs to {settings.region}, and a copy needs "
                "one where it is",
                f"encryption.{key}",
            )


def versions(context: Context) -> Found:
    """Each provider has its own versions."""
    postgres, redis = context.settings.postgres, context.settings.redis
    also = ("target", "postgres.provider", "redis.provider")
    if postgres.version not in (legal := tables.POSTGRES_VERSIONS[postgres.provider]):
        yield Broken(
            "postgres.version",
            f"is not offered by provider {postgres.provider}",
            allowed=", ".join(map(str, legal)),
            suggestion=str(min(legal, key=lambda version: abs(version - postgres.version))),
            also=also,
        )
    if redis.version not in (names := tables.REDIS_VERSIONS[redis.provider]):
        yield Broken(
            "redis.version",
            f"is not offered by provider {redis.provider}",
            allowed=", ".join(names),
            suggestion=nearest(redis.version, names, cutoff=0.5) or names[-1],
            also=also,
        )


RULES: Final = (
    *(providers, external_urls, region, zones, cidr, existing_network, encryption),
    *(architecture, image, metrics_port, copies, versions),
)
