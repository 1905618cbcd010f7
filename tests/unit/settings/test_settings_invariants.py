"""Rules between keys: each breaks for its reason, says so, and is mended by its command."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from infra.settings import Problem, Settings, SettingsError, defaults, parse, tables
from infra.settings.describe import keys
from infra.settings.invariants import RULES
from infra.settings.invariants.broken import Context
from infra.settings.invariants.capacity import connection_budget, database_connections
from infra.settings.invariants.unused import UNUSED
from infra.settings.secrets import BLINDED, GIVEN_VARIABLES
from infra.settings.units import format_size

Base = Callable[..., dict[str, Any]]
Find = Callable[[Mapping[str, Any]], tuple[Problem, ...]]

GOOD_KEY = "q7Wm2Zx9Lk4Vb8Nc3Rt6Yp1Sd5Fg0HjQ7wM2zX9lK4vB8nC3rT6yP1sD5fG0hJaaaa"
POOLER = "postgresql://app:0c9f1b7ae2@ep-cool-1-pooler.eu.neon.tech/app?sslmode=require"
WEBHOOK = "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="
REGULAR = "whsec_" + "AAAA" * 8

EXISTING = {
    "vpc": "vpc-0123456789abcdef0",
    "public_subnets": ["subnet-0000000a", "subnet-0000000b"],
    "task_subnets": ["subnet-0000000c", "subnet-0000000d"],
    "data_subnets": ["subnet-0000000e", "subnet-0000000f"],
}
KEY_ARN = "arn:aws:kms:eu-central-1:123456789012:key/0123abcd-0000-4000-8000-0123456789ab"

BROKEN: tuple[tuple[str, Mapping[str, Any], str, str], ...] = (
    # target, changes, the key that is named, a part of the message
    ("aws", {"postgres.provider": "digitalocean"}, "postgres.provider", "its own network"),
    ("aws", {"redis.provider": "embedded"}, "redis.provider", "loopback only"),
    ("digitalocean", {"postgres": {"provider": "aws"}}, "postgres.provider", "inside their VPC"),
    ("local", {"postgres.provider": "docker"}, "postgres.provider", "one host that stays"),
    ("local", {"postgres.provider": "external"}, "secrets.database_url", "is required with postgres.provider external"),
    ("aws", {"redis.provider": "external"}, "secrets.redis_url", "is required with redis.provider external"),
    ("local", {"secrets.database_url": BLINDED}, "secrets.database_url", "would not be used"),
    ("local", {"region": "fra1"}, "region", "means nothing with target local"),
    ("aws", {"region": "fra1"}, "region", "is no region of aws"),
    ("aws", {"network.zones": ["eu-west-1a", "eu-central-1b"]}, "network.zones", "not in region eu-central-1"),
    ("aws", {"features.emf": False, "worker.scaling.max_replicas": 5}, "features.emf", "without the figures"),
    ("aws", {"network.zones": ["eu-central-1a"]}, "network.zones", "2 to 4 different zones"),
    ("aws", {"network.cidr": "10.0.0.1/16"}, "network.cidr", "last bits must be zero"),
    ("aws", {"network.cidr": "8.0.0.0/16"}, "network.cidr", "no usable range"),
    (
        "aws",
        {
            "postgres": {"provider": "external"},
            "secrets.database_url": "postgresql://app:0c9f1b7ae2@pooler.example.com:6543/app?sslmode=require",
            "secrets.migration_database_url": "postgresql://app:0c9f1b7ae2@db.example.com:5432/app?sslmode=require",
        },
        "postgres.port",
        "does not let tasks out to secrets.database_url",
    ),
    ("aws", {"network.cidr": "10.0.0.0/23"}, "network.cidr", "no usable range"),
    ("aws", {"network.existing": {**EXISTING, "vpc": None}}, "network.existing.vpc", "mean nothing without it"),
    ("aws", {"network.existing": {**EXISTING, "data_subnets": []}}, "network.existing.data_subnets", "2 or more"),
    ("aws", {"network.existing": EXISTING, "network.nat": "none"}, "network.nat", "brings its own"),
    ("digitalocean", {"network.existing": EXISTING}, "network.existing", "means nothing with target digitalocean"),
    ("aws", {"encryption.customer_key": True}, "account", "the key's policy names it"),
    (
        "aws",
        {"encryption.customer_key": True, "encryption.key_arn": KEY_ARN, "account": "123456789012"},
        "encryption.customer_key",
        "is a key already",
    ),
    ("digitalocean", {"image.architecture": "arm64"}, "image.architecture", "does not run on App Platform"),
    ("local", {"image.reference": "r/a@sha256:" + "0" * 64}, "image.reference", "runs the source"),
    ("digitalocean", {"postgres.version": 18}, "postgres.version", "not offered by provider digitalocean"),
    ("aws", {"redis.version": "7.0"}, "redis.version", "not offered by provider aws"),
    ("aws", {"postgres.size": "db-s-1vcpu-2gb"}, "postgres.size", "no size of provider aws"),
    ("local", {"redis.size": "cache.t4g.micro"}, "redis.size", "means nothing with provider embedded"),
    ("digitalocean", {"redis.size": "db-s-1vcpu-1gb"}, "redis.size", "has no standby"),
    ("aws", {"api.cpu": 0.75}, "api.cpu", "is not sold by Fargate"),
    ("aws", {"api.cpu": 0.25, "api.memory": "4 GiB"}, "api.memory", "cannot go with 0.25 vCPU"),
    ("aws", {"worker.groups": {"big": {"cpu": 8, "memory": "17 GiB"}}}, "worker.groups.big.memory", "8 vCPU"),
    ("aws", {"api.size": "apps-s-1vcpu-1gb"}, "api.size", "cpu and memory decide"),
    ("digitalocean", {"worker.cpu": 1}, "worker.cpu", "sells sizes"),
    ("local", {"api.scaling.max_replicas": 5}, "api.scaling.max_replicas", "does not scale api replicas"),
    ("digitalocean", {"worker.scaling.max_replicas": 5}, "worker.scaling.max_replicas", "does not scale worker"),
    ("aws", {"api.scaling.max_replicas": 1}, "api.scaling.max_replicas", "is below api.replicas (2)"),
    ("digitalocean", {"api.scaling.max_replicas": 3}, "api.size", "has a shared processor"),
    ("digitalocean", {"api.size": "apps-s-1vcpu-0.5gb"}, "api.size", "allows one instance"),
    ("local", {"worker.replicas": 0}, "worker.replicas", "no scaling would ever wake"),
    ("local", {"api.mode": "all", "worker.replicas": 2}, "worker.replicas", "would not be used"),
    ("local", {"worker.groups": {"bulk": {"queue": "webhook-processor"}}}, "worker.groups.bulk.queue", "already"),
    ("aws", {"postgres.size": "db.t4g.micro", "api.replicas": 9}, "postgres.size", "connections"),
    ("local", {"api.pool_size": 60}, "postgres.max_connections", "gives 100 connections"),
    ("aws", {"postgres.max_connections": 500}, "postgres.max_connections", "postgres.size decides"),
    ("aws", {"postgres.storage": "10 GiB"}, "postgres.storage", "less than RDS sells"),
    ("aws", {"postgres.storage": "100 GiB"}, "postgres.max_storage", "no room to grow"),
    ("aws", {"api.rollout.maximum_percent": 100}, "api.rollout.maximum_percent", "lets nothing roll"),
    (
        "aws",
        {"worker.replicas": 1, "worker.rollout": {"minimum_healthy_percent": 50, "maximum_percent": 100}},
        "worker.rollout.maximum_percent",
        "at least 1 must serve (minimum_healthy_percent 50) and at most 1 may exist",
    ),
    ("local", {"api.stop_timeout": "20s"}, "api.stop_timeout", "kills replicas before"),
    ("aws", {"api.request_timeout": "60s"}, "api.request_timeout", "would cut them off"),
    ("local", {"worker.stop_timeout": "60s"}, "worker.stop_timeout", "kills workers before"),
    ("local", {"worker.stop_timeout": "110s"}, "worker.stop_timeout", "have handed back what is left"),
    ("aws", {"worker.job_timeout": "111s"}, "worker.job_timeout", "every rollout would cut long jobs short"),
    ("aws", {"worker.shutdown_timeout": "60s"}, "worker.job_timeout", "is above worker.shutdown_timeout (1m)"),
    ("aws", {"api.mode": "all", "worker.job_timeout": "115s"}, "worker.job_timeout", "api.shutdown_timeout"),
    ("aws", {"worker.stop_timeout": "5m"}, "worker.stop_timeout", "longer than Fargate waits"),
    ("local", {"worker.lease": "99s"}, "worker.lease", "while it still runs"),
    ("local", {"deliveries.timeout": "100s"}, "deliveries.timeout", "leave no record"),
    ("local", {"deliveries.backoff": "20m"}, "deliveries.backoff_max", "is below deliveries.backoff"),
    ("aws", {"api.keep_alive_timeout": "60s"}, "api.keep_alive_timeout", "end as 502"),
    ("local", {"jwt.access_expires_in": "10h", "jwt.refresh_expires_in": "1h"}, "jwt.refresh_expires_in", "is below"),
    ("local", {"jwt.access_expires_in": "1500ms"}, "jwt.access_expires_in", "whole seconds"),
    ("local", {"api.health.timeout": "10s"}, "api.health.timeout", "checks would overlap"),
    ("aws", {"worker.scaling.backlog_low": 100}, "worker.scaling.backlog_low", "added and removed"),
    ("aws", {"cors_origins": ["*"]}, "cors_origins[0]", "every web site"),
    ("local", {"cors_origins": ["https://a.example.com/"]}, "cors_origins[0]", "is no origin"),
    ("aws", {"cors_origins": ["http://a.example.com"]}, "cors_origins[0]", "not served over TLS"),
    ("local", {"secrets.jwt": "short"}, "secrets.jwt", "has 5 characters"),
    ("aws", {"secrets.jwt": "ab" * 40}, "secrets.jwt", "too regular"),
    ("aws", {"secrets.jwt": "change-me-" + GOOD_KEY}, "secrets.jwt", "placeholder"),
    ("aws", {"secrets.jwt": GOOD_KEY, "rotation.jwt": 2}, "rotation.jwt", "would renew nothing"),
    ("aws", {"secrets.openai_api_key": "sk-xxxxx"}, "secrets.openai_api_key", "is a placeholder"),
    ("local", {"secrets.openai_api_key": "sk abc"}, "secrets.openai_api_key", "blanks"),
    (
        "aws",
        {"predictions.openai_base_url": "http://proxy.example.com/v1"},
        "predictions.openai_base_url",
        "in the open",
    ),
    ("local", {"secrets.webhook_secret_openai": "whsec_short"}, "secrets.webhook_secret_openai", "no secret for"),
    ("aws", {"secrets.webhook_secret_openai": f"{WEBHOOK},{WEBHOOK}"}, "secrets.webhook_secret_openai", "no secret"),
    ("aws", {"secrets.webhook_secret_openai": REGULAR}, "secrets.webhook_secret_openai", "too regular"),
    ("local", {"secrets.webhook_secret_replicate": WEBHOOK}, "predictions.webhook_base_url", "no webhook comes"),
    (
        "aws",
        {"postgres": {"provider": "external"}, "secrets.database_url": "postgresql://a:0c9f1b7ae2@db.net/app"},
        "secrets.database_url",
        "without TLS",
    ),
    (
        "aws",
        {"postgres": {"provider": "external"}, "secrets.database_url": "mysql://a:b@db.net/app"},
        "secrets.database_url",
        "no complete Postgres URL",
    ),
    (
        "aws",
        {"postgres": {"provider": "external"}, "secrets.database_url": POOLER},
        "secrets.migration_database_url",
        "cannot hold its lock",
    ),
    (
        "aws",
        {"redis": {"provider": "external"}, "secrets.redis_url": "redis://default:0c9f1b7ae2@r.net:6379"},
        "secrets.redis_url",
        "without TLS",
    ),
    (
        "aws",
        {"redis": {"provider": "external"}, "secrets.redis_url": "rediss://default:password@r.net:6379"},
        "secrets.redis_url",
        "guessed at once",
    ),
    ("aws", {"secrets.alert_webhook": "http://hooks.example.com/x"}, "secrets.alert_webhook", "is no https address"),
    ("aws", {"postgres.sslmode": "disable"}, "postgres.sslmode", "in the open"),
    ("docker", {"redis.tls": False}, "redis.tls", "in the open"),
    ("local", {"postgres.sslmode": "require"}, "postgres.sslmode", "has no TLS"),
    ("local", {"redis.tls": True}, "redis.tls", "has no TLS"),
    ("aws", {"postgres.backup_window": "01:00-01:20"}, "postgres.backup_window", "lasts 20 minutes"),
    ("aws", {"redis.snapshot_window": "02:00-02:30"}, "redis.snapshot_window", "lasts 30 minutes"),
    ("aws", {"postgres.maintenance_window": "sun:23:30-mon:01:30"}, "postgres.maintenance_window", "overlaps"),
    ("aws", {"postgres.restore": {"snapshot": "a", "instance": "b"}}, "postgres.restore", "both a snapshot"),
    ("aws", {"backup.hour": 22}, "backup.hour", "within an hour of postgres.backup_window"),
    ("aws", {"postgres.backup_window": "23:30-00:30", "backup.hour": 21}, "backup.hour", "backup_window"),
    ("aws", {"postgres.restore": {"instance": "b"}}, "postgres.restore.time", "is missing"),
    ("aws", {"postgres.restore": {"time": "latest"}}, "postgres.restore.instance", "is missing"),
    ("aws", {"postgres.restore": {"snapshot": "a", "time": "latest"}}, "postgres.restore.time", "of one moment"),
    (
        "aws",
        {
            "postgres": {"provider": "external", "restore": {"snapshot": "a"}},
            "secrets.database_url": "postgresql://app:0c9f1b7ae2@db.net/app?sslmode=verify-full",
        },
        "postgres.restore",
        "whoever runs that server",
    ),
    ("aws", {"backup.copy_region": "eu-central-1"}, "backup.copy_region", "is the stack's own region"),
    ("aws", {"backup.copy_region": "eu-west-9"}, "backup.copy_region", "is no region of aws"),
    ("aws", {"backup.copy_region": "us-gov-east-1"}, "backup.copy_region", "is in GovCloud"),
    ("aws", {"backup.copy_region": "eu-west-1", "backup.dumps": False}, "backup.copy_region", "has nothing to copy"),
    (
        "aws",
        {"backup.copy_region": "eu-west-1", "encryption.customer_key": True, "account": "123456789012"},
        "backup.copy_region",
        "cannot be had with encryption.customer_key",
    ),
    ("docker", {"backup.copy_region": "eu-west-1"}, "backup.copy_region", "means nothing with target docker"),
    ("aws", {"domain": {}}, "domain.name", "is required on AWS"),
    ("aws", {"domain.plain_http": True}, "domain.plain_http", "contradicts"),
    ("aws", {"domain.zone": "other.org"}, "domain.zone", "does not hold domain.name"),
    ("aws", {"domain.zone": "example.com"}, "domain.zone_id", "would need credentials for every plan"),
    ("docker", {"domain.zone": "example.com"}, "domain.name", "mean nothing without it"),
    ("aws", {"deliveries.allow_private_networks": True}, "deliveries.allow_private_networks", "metadata service"),
    ("local", {"network.nat": "single"}, "network", "means nothing with target local"),
    ("local", {"worker.groups": {"bulk": {"memory": "2 GiB"}}}, "worker.groups.bulk.memory", "means nothing"),
    ("docker", {"worker.spot": False}, "worker.spot", "means nothing with target docker"),
    ("digitalocean", {"api.scaling.memory": 50}, "api.scaling.memory", "means nothing with target digitalocean"),
    ("local", {"features.metrics_port": 9100}, "features.metrics_port", "means nothing with target local"),
    ("docker", {"api.mode": "all", "features.metrics_port": 3000}, "features.metrics_port", "is taken"),
    ("local", {"rotation.jwt": 2, "rotation.jwt_min": 3}, "rotation.jwt_min", "no key could sign"),
)


@pytest.mark.parametrize(
    ("target", "changes", "path", "message"), BROKEN, ids=[f"{t}-{p}-{i}" for i, (t, _, p, _) in enumerate(BROKEN)]
)
def test_a_broken_rule_says_why_and_how_to_mend_it(
    target: str,
    changes: Mapping[str, Any],
    path: str,
    message: str,
    base: Base,
    problems: Find,
    mend: Callable[[Mapping[str, Any], Problem], dict[str, Any] | None],
) -> None:
    assert problems(base(target)) == ()
    tree = base(target, changes)
    found = [problem for problem in problems(tree) if problem.path == path and message in problem.message]
    assert found, problems(tree)
    if found[0].command and (mended := mend(tree, found[0])) is not None:
        assert (path, found[0].message) not in {(each.path, each.message) for each in problems(mended)}


def test_every_rule_is_tried(base: Base) -> None:
    """A rule that no case breaks may have stopped to look."""
    silent = {rule.__name__ for rule in RULES}
    for target, changes, _, _ in BROKEN:
        tree = base(target, changes)
        settings = Settings.model_validate({**defaults.complete(tree), "project": "slipway", "stack": "test"})
        silent -= {rule.__name__ for rule in RULES if list(rule(Context(settings, tree)))}
    assert silent == {"names"}, "names are tried below: they need a long stack name"


def test_unused_keys_are_keys() -> None:
    known = {".".join(map(str, key.path)) for key in keys(Settings)}
    assert {path for paths in UNUSED.values() for path in paths} <= known


def test_names_that_grow_too_long(base: Base) -> None:
    with pytest.raises(SettingsError, match="a stack name of up to 16 characters"):
        parse(base("aws"), stack="a-very-long-stack-name")
    parse(base("aws"), stack="a" * 16)
    parse(base("local"), stack="a-very-long-stack-name")


def test_a_blinded_secret_passes_every_check(problems: Find, base: Base) -> None:
    """A plan is made without the passphrase."""
    tree = base(
        "aws",
        {
            "postgres": {"provider": "external"},
            "redis": {"provider": "external"},
            "secrets": dict.fromkeys(
                ("database_url", "migration_database_url", "redis_url", *GIVEN_VARIABLES),
                BLINDED,
            ),
        },
    )
    assert problems(tree) == ()


def test_every_fargate_pair_is_accepted_and_no_other(base: Base, problems: Find) -> None:
    source = random.Random(3)
    for cpu, legal in tables.FARGATE_MEMORY_MIB.items():
        for memory in (*source.sample(legal, min(4, len(legal))), *(source.randrange(512, 122_880) for _ in range(4))):
            found = problems(base("aws", {"api.cpu": cpu, "api.memory": f"{memory} MiB"}))
            assert bool(found) == (memory not in legal), (cpu, memory, found)


def test_what_passes_fits_into_the_database(base: Base, problems: Find) -> None:
    """Whatever the mix of replicas, pools and groups: if it is accepted, the pools fit, and if it fits, it is."""
    source = random.Random(4)
    seen = {True: 0, False: 0}
    for _ in range(150):
        tree = base(
            "aws",
            {
                "postgres.size": source.choice(list(tables.RDS_MEMORY_GIB)),
                "api.mode": source.choice(["api", "all"]),
                "api.replicas": source.randrange(1, 40),
                "api.pool_size": source.randrange(1, 30),
                "worker.pool_overflow": source.randrange(0, 30),
                "worker.groups": {"bulk": {"replicas": source.randrange(1, 20)}},
            },
        )
        settings = Settings.model_validate({**defaults.complete(tree), "project": "slipway", "stack": "test"})
        replicas, limit = settings.api.replicas, database_connections(settings)
        processes = 2 if settings.api.mode == "all" else 1
        groups = [group for _, group in settings.worker_groups]
        peak = 2 * replicas * settings.api.connections * processes + sum(2 * g.replicas * g.connections for g in groups)
        assert connection_budget(settings).needed == peak + 3
        accepted = problems(tree) == ()
        assert accepted == (peak + 3 <= connection_budget(settings).usable)
        assert connection_budget(settings).usable < limit * 0.91
        seen[accepted] += 1
    assert min(seen.values()) > 20, seen


def test_connections_follow_the_providers_figures() -> None:
    assert tables.rds_max_connections("db.t4g.micro") == 112
    assert tables.rds_max_connections("db.r7g.4xlarge") == 5000
    assert tables.do_max_connections("db-s-1vcpu-1gb") == 22
    assert tables.do_max_connections("db-s-2vcpu-4gb") == 97


def test_default_zones_and_proxies_follow_region_and_network(settings: Callable[..., Settings]) -> None:
    aws = settings("aws", {"network.cidr": "10.8.0.0/16"})
    assert aws.network.zones == ("eu-central-1a", "eu-central-1b")
    assert aws.api.trusted_proxies == ("10.8.0.0/16",)
    assert settings("aws", {"api.trusted_proxies": []}).api.trusted_proxies == ()


def test_providers_follow_the_target(settings: Callable[..., Settings]) -> None:
    for target, provider in (("local", "embedded"), ("docker", "docker"), ("aws", "aws")):
        assert settings(target).postgres.provider == provider
        assert settings(target).redis.provider == provider


def test_sizes_are_spelled_as_they_are_read() -> None:
    assert format_size(2 * tables.GIB) == "2 GiB"
