"""What must not reach others: weak keys, open origins, servers without TLS; and names that fit."""

from __future__ import annotations

from typing import Final

from infra.settings.invariants.broken import Broken, Context, Found, missing, needless, only
from infra.settings.invariants.urls import LOOPBACK, PLACEHOLDER, TLS_MODES, split_url

MIN_SIGNING_KEY_LENGTH: Final = 64
"""Characters of a signing key (production guide; the application refuses less)."""
_MIN_DISTINCT: Final = 12
_LONGEST_NAME: Final = 24
"""Characters of `project-stack`: a load balancer's name has 32, of which Pulumi takes eight for its random suffix."""


def cors(context: Context) -> Found:
    """Origins are scheme, host and port; `*` would let every web site use a visitor's login."""
    production = context.settings.environment == "production"
    for index, origin in enumerate(context.settings.cors_origins):
        where = f"cors_origins[{index}]"
        if origin == "*":
            if production:
                yield needless(
                    where,
                    "would let every web site call the API in its visitors' name",
                    allowed="the origins of your own sites, such as https://app.example.com",
                )
            continue
        parts = split_url(origin)
        web = parts is not None and parts.scheme in ("http", "https") and parts.hostname
        bare = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts and web else None
        if parts is None or origin != bare:
            allowed = "scheme://host[:port] without a path, such as https://app.example.com"
            yield Broken(where, "is no origin", allowed=allowed, suggestion=bare)
        elif production and parts.scheme == "http" and parts.hostname not in LOOPBACK:
            yield Broken(
                where,
                "is not served over TLS, so that anyone on the way could act as that site",
                allowed="https://",
                suggestion=f"https://{parts.netloc}",
            )


def signing_key(context: Context) -> Found:
    """A given key must be strong, and is not rotated by a number."""
    settings, where = context.settings, "secrets.jwt"
    if settings.secrets.jwt is None:
        return
    if context.given("rotation.jwt") and settings.rotation.jwt > 1:
        yield needless(
            "rotation.jwt",
            "would renew nothing: secrets.jwt is given, and is the only signing key",
            where,
            allowed="leave one of them out",
        )
    key = settings.secrets.text("jwt")
    if key is None:
        return
    if len(key) < MIN_SIGNING_KEY_LENGTH:
        yield Broken(
            where,
            f"has {len(key)} characters",
            allowed=f"{MIN_SIGNING_KEY_LENGTH} or more, as `openssl rand -base64 64` makes them, or nothing: "
            f"the program then makes its own keys",
        )
    elif settings.environment == "production" and (len(set(key)) < _MIN_DISTINCT or PLACEHOLDER.search(key)):
        yield Broken(
            where, "is a placeholder or too regular to be a secret", allowed="what `openssl rand -base64 64` makes"
        )


def provider_keys(context: Context) -> Found:
    for name in ("replicate_api_key", "openai_api_key"):
        key = context.settings.secrets.text(name)
        if key is None:
            continue
        if any(character.isspace() or not character.isprintable() for character in key):
            yield Broken(f"secrets.{name}", "contains blanks or control characters")
        elif context.settings.environment == "production" and (
            PLACEHOLDER.search(key) or key.rstrip("x").endswith(("_", "-"))
        ):
            yield Broken(f"secrets.{name}", "is a placeholder", allowed="the provider's key, or nothing")


def transport(context: Context) -> Found:
    """Servers that the stack runs itself, away from this machine, speak TLS."""
    settings = context.settings
    if settings.environment != "production":
        return
    postgres, redis = settings.postgres, settings.redis
    if postgres.provider != "external" and postgres.sslmode not in TLS_MODES:
        yield Broken(
            "postgres.sslmode",
            "would send passwords and data in the open",
            allowed=" or ".join(TLS_MODES),
            suggestion="verify-full" if postgres.provider == "aws" else "require",
            also=("postgres.provider",),
        )
    if redis.provider != "external" and not redis.tls:
        yield only("redis.tls", "true", "would send the password and every job in the open", "redis.provider")


def embedded_tls(context: Context) -> Found:
    """The servers from wheels are built without TLS."""
    postgres, redis = context.settings.postgres, context.settings.redis
    message = "cannot be met: the embedded server has no TLS, and listens on loopback only"
    if postgres.provider == "embedded" and postgres.sslmode != "disable":
        yield only("postgres.sslmode", "disable", message, "postgres.provider")
    if redis.provider == "embedded" and redis.tls:
        yield only("redis.tls", "false", message, "redis.provider")


def domain(context: Context) -> Found:
    """Without a name there is no certificate, and without a certificate no TLS."""
    settings = context.settings
    chosen = settings.domain
    if settings.target == "aws" and chosen.name is None and not chosen.plain_http:
        yield missing(
            "domain.name",
            "is required on AWS: the certificate is made for it",
            "a host name such as api.example.com; or domain.plain_http: true for a short trial without TLS",
        )
    if chosen.name is not None and chosen.plain_http:
        yield needless("domain.plain_http", "contradicts domain.name, which is served over TLS", "domain.name")
    if chosen.name and chosen.zone and chosen.name != chosen.zone and not chosen.name.endswith(f".{chosen.zone}"):
        message, parent = f"does not hold domain.name ({chosen.name})", chosen.name.split(".", 1)[1]
        allowed = f"a part of it, such as {parent}"
        yield Broken("domain.zone", message, allowed=allowed, suggestion=parent, also=("domain.name",))
    if settings.target == "aws" and chosen.zone and not chosen.zone_id:
        yield missing(
            "domain.zone_id",
            f"is required with domain.zone on AWS: finding {chosen.zone} would need credentials for every plan",
            f"the id that `aws route53 list-hosted-zones-by-name --dns-name {chosen.zone}` shows, or leave "
            f"domain.zone out and make the records yourself",
            "domain.zone",
        )
    if chosen.name is None and (chosen.zone or chosen.zone_id or chosen.certificate_arn):
        yield missing(
            "domain.name",
            "is missing, and domain.zone or domain.certificate_arn mean nothing without it",
            "a host name such as api.example.com",
            "domain.zone",
            "domain.certificate_arn",
        )


def open_deliveries(context: Context) -> Found:
    """Users choose where deliveries go: inside a cloud network that would be a way to its metadata service."""
    deliveries = context.settings.deliveries
    if context.settings.target in ("aws", "digitalocean") and deliveries.allow_private_networks:
        yield only(
            "deliveries.allow_private_networks",
            "false",
            "would let users reach the private network and the platform's metadata service",
        )


def rotation_floor(context: Context) -> Found:
    rotation = context.settings.rotation
    if rotation.jwt_min is not None and rotation.jwt_min > rotation.jwt:
        yield Broken(
            "rotation.jwt_min",
            f"is above rotation.jwt ({rotation.jwt}), so that no key could sign",
            allowed=f"1 to {rotation.jwt}",
            suggestion=str(rotation.jwt),
            also=("rotation.jwt",),
        )


def names(context: Context) -> Found:
    """Physical names are built from project and stack, and the shortest limit decides."""
    name = f"{context.settings.project}-{context.settings.stack}"
    if context.settings.target != "local" and len(name) > _LONGEST_NAME:
        yield Broken(
            "target",
            f"gives names that are too long: {name} has {len(name)} characters, and names of load balancers "
            f"leave room for {_LONGEST_NAME}",
            allowed=f"a stack name of up to {_LONGEST_NAME - 1 - len(context.settings.project)} characters",
        )


RULES: Final = (
    *(cors, signing_key, provider_keys, transport, embedded_tls, domain),
    *(open_deliveries, rotation_floor, names),
)
