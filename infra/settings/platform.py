"""The ground that the application stands on, and how it is watched, kept and found again."""

from __future__ import annotations

import datetime
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from infra.settings.group import Group
from infra.settings.rules import Between, NumberOf, Span, Text
from infra.settings.tables import CLOUDWATCH_RETENTION_DAYS
from infra.settings.variables import API, EVERY, IN_PLACE, ROLLS_ALL, ROLLS_API, WORKER, Effect, Variable

_REFERENCE = Text(
    r"[a-z0-9][a-z0-9._/:-]{0,254}@sha256:[0-9a-f]{64}",
    "repository@sha256:<64 hexadecimal digits>, since a tag can come to mean another image",
)
_VERSION = Text(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", "1 to 64 letters, digits or '._+-'")
_HOST_NAME = Text(
    r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}", "a host name such as api.example.com"
)
_EMAIL = Text(r"[^@\s]{1,64}@[^@\s]+\.[^@\s]+", "an e-mail address")
_CERTIFICATE = Text(r"arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/[0-9a-f-]{36}", "the ARN of an ACM certificate")
_ZONE_ID = Text(r"Z[A-Z0-9]{1,31}", "the id of a Route 53 hosted zone, such as Z0123456789ABCDEFGHIJ")
_CIDR = Text(r"\d{1,3}(\.\d{1,3}){3}/\d{1,2}", "an IPv4 network such as 10.0.0.0/16")
_REGION = Text(r"[a-z]{2}(-[a-z]+)+-\d", "an AWS region such as eu-west-1")
_ZONE = Text(r"[a-z]{2}(-[a-z]+)+-\d[a-h]", "an availability zone such as eu-central-1a")
_COLLECTOR = Text(r"https?://[A-Za-z0-9.:\[\]-]{1,253}(/[^\s?#@]*)?", "an address such as http://collector:4318")
_VPC = Text(r"vpc-[0-9a-f]{8,17}", "the id of a VPC such as vpc-0123456789abcdef0")
_SUBNET = Text(r"subnet-[0-9a-f]{8,17}", "the id of a subnet such as subnet-0123456789abcdef0")
_KEY = Text(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[0-9a-f-]{36}", "the ARN of a KMS key")


class Image(Group):
    """The application image. Without `reference` it is built from `app/`; the local target runs the source itself."""

    reference: Annotated[str, _REFERENCE] | None = None
    """An image that CI has built, by digest."""
    version: Annotated[str, _VERSION, Variable("SERVICE_VERSION", EVERY)] = "0.0.0"
    """Version in logs and `/health` (`SERVICE_VERSION`)."""
    architecture: Annotated[Literal["arm64", "x86_64"], Field()] = "arm64"
    """Processor to build for and run on. ARM costs about 20 % less on Fargate. App Platform runs x86_64 only, which is
    the default there."""


class ExistingNetwork(Group):
    """A VPC that somebody else keeps, with its routes and ways out; the stack adds its security groups. All keys or
    none. AWS only."""

    vpc: Annotated[str, _VPC] | None = None
    """Id of the VPC; `network.cidr` must be its range."""
    public_subnets: tuple[Annotated[str, _SUBNET], ...] = ()
    """Subnets of the load balancer, with a route to an internet gateway: two at least, in different zones."""
    task_subnets: tuple[Annotated[str, _SUBNET], ...] = ()
    """Subnets of the tasks, with a way out: they fetch images and secrets."""
    data_subnets: tuple[Annotated[str, _SUBNET], ...] = ()
    """Subnets of Postgres and Redis: two at least, in different zones."""


class Network(Group):
    """The private network. AWS, and the address range on DigitalOcean."""

    cidr: Annotated[str, _CIDR, Effect("makes the network anew, and all that lives in it")] = "10.0.0.0/16"
    """Address range of the VPC, from /16 to /22 on AWS. It cannot change later without making everything anew."""
    zones: Annotated[tuple[Annotated[str, _ZONE], ...], Effect("subnets, and replicas that live in them")] = ()
    """Availability zones. Given, not asked for, so that a plan needs no credentials. Default: the region's `a` and `b`;
    name others where an account has no such zone. Two at least: RDS and the load balancer want them."""
    nat: Annotated[
        Literal["per_zone", "regional", "single", "none"], Effect("in place; connections to the outside break once")
    ] = "per_zone"
    """Ways out of the private subnets: 33 USD a month for each (0.045 USD/h) and 0.045 USD a GB. `regional` is one that
    AWS spreads over the zones in use and bills for each of them. `single` shares one, so that losing its zone cuts off
    the others. `none` puts tasks in public subnets with a public address each (3.65 USD a month), closed to incoming
    traffic."""
    endpoints: Annotated[
        tuple[Literal["ecr.api", "ecr.dkr", "kms", "logs", "monitoring", "secretsmanager", "ssmmessages", "sts"], ...],
        Effect(IN_PLACE),
    ] = ()
    """AWS services to reach inside the VPC: 7.30 USD a month for each and zone, and 0.01 USD a GB. Cheaper than NAT
    only beyond about a terabyte a month. S3 has its own, free one always. AWS only."""
    existing: Annotated[ExistingNetwork, Effect("makes everything anew in the other network; nothing is moved")] = (
        Field(default_factory=ExistingNetwork)
    )
    """A VPC to use in place of one of the stack's own."""
    flow_logs: Annotated[bool, Effect(IN_PLACE)] = True
    """Record accepted and refused connections; billed as logs (0.50 USD a GB)."""
    waf: Annotated[bool, Effect(IN_PLACE)] = True
    """Put AWS WAF with the managed rule groups before the load balancer: about 10 USD a month and 0.60 USD a million
    requests. AWS only."""
    waf_rate_limit: Annotated[int, Between(10, 2_000_000, "requests"), Effect(IN_PLACE)] = 2000
    """Requests of one address within five minutes above which WAF refuses more. Many people behind one gateway share an
    address. AWS only."""


class Encryption(Group):
    """The key for data at rest. Everything is encrypted in any case; by default with keys that AWS manages. AWS only.

    RDS, ElastiCache and ECR fix the key when they are made: choose before the first `up`.
    """

    customer_key: bool = False
    """Make a KMS key of the stack's own, renewed every year: 1 USD a month, a dollar more after each of the first two
    renewals, and 0.03 USD for 10 000 uses. Needs `account`: the key's policy names it."""
    key_arn: Annotated[str, _KEY] | None = None
    """A KMS key that exists already, in the region of the stack, whose policy lets the stack's services use it."""


class Domain(Group):
    """The name that users see."""

    name: Annotated[str, _HOST_NAME] | None = None
    """Host name of the API. Required on AWS, where the certificate is made for it."""
    zone: Annotated[str, _HOST_NAME] | None = None
    """DNS zone in the same account that gets the records. Without it, set them yourself from the stack's outputs. On
    AWS `zone_id` names it."""
    zone_id: Annotated[str, _ZONE_ID] | None = None
    """Id of that zone in Route 53, since a plan may not look it up. Without it the records are shown while `up` waits
    for the certificate. AWS only."""
    certificate_arn: Annotated[str, _CERTIFICATE] | None = None
    """An ACM certificate for `name` that exists already, in the region of the stack. AWS only."""
    plain_http: bool = False
    """Serve without TLS where there is no domain. Passwords and tokens cross the network in the open: for a short
    trial on AWS only."""


def _or_empty(value: str | None) -> str:
    return value or ""


def _share(percent: int) -> str:
    return str(percent / 100)


class Log(Group):
    """What the application writes, and how long it is kept."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Variable("LOG_LEVEL", EVERY)] = "info"
    """Least severe level written (`LOG_LEVEL`)."""
    format: Annotated[Literal["json", "text"], Variable("LOG_FORMAT", EVERY)] = "json"
    """`text` is for people at a terminal (`LOG_FORMAT`)."""
    retention_days: Annotated[
        int, NumberOf(CLOUDWATCH_RETENTION_DAYS, "days"), Effect("in place; older entries go")
    ] = 30
    """Days that CloudWatch keeps logs; 0.03 USD a GB and month. AWS only."""


class Observability(Group):
    """Where the application's traces go."""

    otlp_endpoint: Annotated[
        Annotated[str, _COLLECTOR] | None, Variable("OTEL_EXPORTER_OTLP_ENDPOINT", API | WORKER, _or_empty)
    ] = None
    """OpenTelemetry collector that takes OTLP over HTTP (`OTEL_EXPORTER_OTLP_ENDPOINT`). Without one nothing is
    traced. No password: it stands in the open, so let the collector hold what its backend wants."""
    trace_percent: Annotated[int, Between(0, 100, "%"), Variable("OTEL_TRACES_SAMPLER_ARG", API | WORKER, _share)] = 100
    """Share of traces that are kept (`OTEL_TRACES_SAMPLER_ARG`)."""


class Rotation(Group):
    """One number for each secret that the program makes. Raise it by one and run `up`: nobody is logged out.

    Never by more than one at a time, and never back: `infra.rotation.check_step` says why.
    """

    jwt: Annotated[int, Between(1, 1_000_000), Effect(f"a new key, then {ROLLS_API}; nobody is logged out")] = 1
    """Generation of the key that signs tokens. The one before still verifies, the one after is already known. A step is
    refused while tokens of the key that it drops may live: `jwt.refresh_expires_in` after the last one."""
    jwt_min: Annotated[int, Between(1, 1_000_000), Effect(f"{ROLLS_API}; tokens of older keys end")] | None = None
    """Oldest generation that still verifies. Set it to `rotation.jwt` to drop a compromised predecessor now, which
    logs out whoever holds a token of it. It is also the way to insist on a step that comes too early: what it names is
    dropped on purpose, by this step and no later one."""
    db: Annotated[int, Between(1, 1_000_000), Effect(f"a new password of the idle login, then {ROLLS_ALL}")] = 1
    """Generation of the application's database login. Two logins alternate; one step changes the idle one."""
    redis: Annotated[int, Between(1, 1_000_000), Effect(f"a new password of the idle login, then {ROLLS_ALL}")] = 1
    """Generation of the application's Redis login. Two alternate, as with `db`."""
    migrate: Annotated[int, Between(1, 1_000_000), Effect("a new password, and the migration runs again")] = 1
    """Generation of the login that migrates. Only the migration of the same `up` logs in with it."""
    backup: Annotated[
        int, Between(1, 1_000_000), Effect("a new password of the idle login, to which the dumps move")
    ] = 1
    """Generation of the login of the dumps. Two alternate, as with `db`, since a dump may start at any time. AWS
    only."""
    master: Annotated[int, Between(1, 1_000_000), Effect("new passwords, in place; sessions go on")] = 1
    """Generation of the passwords that administer Postgres and Redis, which no service has. Where RDS keeps the master
    password it renews it by itself, and this number does nothing to it."""


class Alerts(Group):
    """Who gets alarms, and when. On AWS each alarm costs 0.10 USD a month, each combined one 0.50 USD.

    Where a figure has a threshold for scaling too, this one is about the case in which scaling has not helped.
    """

    emails: tuple[Annotated[str, _EMAIL], ...] = ()
    """Receivers. Without one, and without `secrets.alert_webhook`, alarms still show, but wake nobody. On AWS each must
    confirm once, by the link in a first message."""
    error_percent: Annotated[int, Between(1, 100, "%")] = 5
    """Share of answers with a 5xx status over five minutes."""
    latency_p95: Annotated[timedelta, Span("10ms", "60s")] = timedelta(milliseconds=500)
    """Response time at the 95th percentile, held for fifteen minutes."""
    service_cpu: Annotated[int, Between(10, 100, "%")] = 80
    """Processor load of the API or a worker group, held for fifteen minutes."""
    service_memory: Annotated[int, Between(10, 100, "%")] = 85
    """Use of memory of the API or a worker group, held for fifteen minutes. A replica that reaches 100 % is killed."""
    database_cpu: Annotated[int, Between(10, 100, "%")] = 80
    """Processor load of the database."""
    database_connections: Annotated[int, Between(10, 100, "%")] = 80
    """Share of the possible connections in use."""
    database_storage_free: Annotated[int, Between(1, 90, "%")] = 15
    """Share of the disk still free, below which to warn."""
    database_memory_free: Annotated[int, Between(1, 50, "%")] = 5
    """Share of the database's memory that can be freed, below which to warn. Postgres uses most of it on purpose."""
    replica_lag: Annotated[timedelta, Span("1s", "24h")] = timedelta(seconds=60)
    """How far a replica, of the database or of Redis, may be behind."""
    redis_memory: Annotated[int, Between(10, 100, "%")] = 70
    """Share of Redis memory in use. At 100 % `noeviction` refuses new jobs."""
    redis_cpu: Annotated[int, Between(10, 100, "%")] = 80
    """Load of the one processor core that runs Redis commands."""
    redis_connections: Annotated[int, Between(10, 65_000, "connections")] = 2000
    """Connections of one Redis node; ElastiCache accepts 65 000."""
    queue_depth: Annotated[int, Between(1, 1_000_000, "jobs")] = 100
    """Waiting jobs of one queue, held for fifteen minutes."""
    queue_wait: Annotated[timedelta, Span("1s", "24h")] = timedelta(seconds=60)
    """Age of the oldest waiting job of one queue, held for fifteen minutes; of a job that has not reached Redis, for
    five."""
    failed_jobs: Annotated[int, Between(1, 1_000_000, "jobs")] = 10
    """Jobs that failed for good within five minutes: look before adding workers."""
    error_logs: Annotated[int, Between(0, 1_000_000, "entries")] = 20
    """Errors that one service may log within five minutes. Counted in JSON logs only (`log.format`)."""
    monthly_budget: Annotated[int, Between(1, 10_000_000, "USD")] | None = None
    """Warn when the account's forecast for the month passes this sum. AWS only."""


class Backup(Group):
    """Copies to restore from. Redis needs none: Postgres restores the queue."""

    retention_days: Annotated[int, Between(1, 35, "days")] = 7
    """Days for which the database can be set back to any second. RDS allows 35; DigitalOcean always keeps 7."""
    dumps: bool = True
    """Write a daily dump to object storage besides: it survives the loss of the database service and can be restored
    anywhere."""
    hour: Annotated[int, Between(0, 23)] = 3
    """Hour of the daily dump, in UTC."""
    dump_retention_days: Annotated[int, Between(1, 3650, "days")] = 30
    """Days that dumps are kept; object storage costs 0.023 USD a GB and month."""
    vault: bool = True
    """Keep snapshots in AWS Backup besides, where deleting the database does not delete them: 0.095 USD a GB and
    month. AWS only. Taken four hours after `hour`, at least an hour from the database's own windows."""
    vault_retention_days: Annotated[int, Between(1, 3650, "days")] = 35
    """Days that AWS Backup keeps a daily snapshot. AWS only."""
    restore_test: Literal["weekly", "monthly", "never"] = "weekly"
    """How often AWS Backup restores the newest snapshot to an instance of its own, to show that it can be done, and
    deletes that. It runs for some hours, at the price of the instance. AWS only."""
    copy_region: Annotated[str, _REGION] | None = None
    """Another AWS region that gets a copy of every dump within minutes, for the day on which the stack's own is gone:
    0.023 USD a GB and month there, and about 0.02 USD a GB for the way. Not with a KMS key of one's own, which belongs
    to its region. AWS only."""
    dump_image: Annotated[str, _REFERENCE] | None = None
    """Image with `pg_dump` and `pg_restore`, for a server that is newer than the application image's. Default: the
    application image, which reads servers up to version 18. AWS only."""
    upload_image: Annotated[str, _REFERENCE] = (
        "public.ecr.aws/aws-cli/aws-cli@sha256:749bfaf91d690b9a1768083822d620f96c19defdf9ca2dc227eb3695281fda5b"
    )
    """Image with the AWS CLI, which brings the dump to S3: it reads the whole database. Default: 2.35.11. AWS only."""

    @property
    def vault_hour(self) -> int:
        """Hour at which AWS Backup starts its snapshot, in UTC: some hours after the dump."""
        return (self.hour + 4) % 24

    @property
    def dump_retention(self) -> timedelta:
        return timedelta(days=self.dump_retention_days)


class Permit(Group):
    """Leave to delete or replace one stateful resource. Without it the plan is refused."""

    resource: Annotated[str, Text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", "the resource's name as the plan shows it")]
    """Name of the resource in the plan."""
    action: Literal["delete", "replace"]
    """What may be done with it."""
    until: datetime.date
    """Last day, as 'YYYY-MM-DD', in quotes: without them YAML makes a time of it. A permit that is forgotten must not
    lie in wait."""
    reason: Annotated[str, Text(r"(?s).{10,500}", "10 to 500 characters")]
    """Why, for whoever reads the plan."""
