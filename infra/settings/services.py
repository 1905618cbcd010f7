"""The application's processes: the API, the workers and what both have."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from infra.settings.application import LoginFailures, RateLimit
from infra.settings.group import Group
from infra.settings.rules import Between, Cpus, Duration, OneOf, Size, Span, Text
from infra.settings.tables import DO_APP_SIZES
from infra.settings.variables import API, IN_PLACE, OWN, ROLLS_ALL, ROLLS_API, WORKER, Effect, Variable

QUEUE_NAME = Text(r"[A-Za-z0-9_.-]{1,64}", "1 to 64 letters, digits, '_', '.' or '-'")
GROUP_NAME = Text(r"[a-z]([a-z0-9-]{0,14}[a-z0-9])?", "1 to 16 lower-case letters, digits or '-', a letter first")
JobKinds = tuple[Annotated[str, Text("delivery|prediction|webhook", "delivery, prediction or webhook")], ...]
_CIDR = Text(r"[0-9A-Fa-f:.]+(/\d{1,3})?", "a network such as 10.0.0.0/16")


class Health(Group):
    """How often a replica is asked whether it is well, and when it counts as lost."""

    interval: Annotated[timedelta, Span("5s", "5m")] = timedelta(seconds=10)
    """Time between two checks. ECS accepts 5 s to 300 s."""
    timeout: Annotated[timedelta, Span("2s", "60s")] = timedelta(seconds=5)
    """Time that one check may take; below `interval`. ECS accepts 2 s to 60 s."""
    retries: Annotated[int, Between(1, 10)] = 3
    """Failed checks in a row until the replica is replaced. ECS accepts 1 to 10."""
    start_period: Annotated[timedelta, Span("0s", "5m")] = timedelta(seconds=60)
    """Time after start in which failed checks do not count. ECS accepts up to 300 s; the application is up in about
    two seconds, the rest is for a cold host and a slow first connection."""


class Rollout(Group):
    """How new replicas take the place of old ones (ECS rolling deployment)."""

    minimum_healthy_percent: Annotated[int, Between(0, 100, "%")] = 100
    """Share of `replicas` that keeps serving during a rollout, rounded up by ECS. 100 keeps full capacity."""
    maximum_percent: Annotated[int, Between(100, 400, "%")] = 200
    """Share of `replicas` that may exist during a rollout, rounded down by ECS. At 100 with a minimum of 100 nothing
    could ever be replaced. Counts for database connections too: old and new replicas hold theirs together."""
    timeout: Annotated[timedelta, Span("1m", "3h")] = timedelta(minutes=30)
    """Time after which a rollout that has not settled fails the command."""


class ApiScaling(Group):
    """When API replicas are added. Off until `max_replicas` is set; never fewer than `api.replicas`.

    The thresholds are those of the production guide. Each added replica costs what `cpu` and `memory` cost.
    """

    max_replicas: Annotated[int, Between(1, 1000, "replicas")] | None = None
    """Most replicas; the ceiling of the bill. Without it the number of replicas is fixed. AWS and DigitalOcean only."""
    cpu: Annotated[int, Between(10, 95, "%")] = 70
    """Average processor load that scaling aims at."""
    memory: Annotated[int, Between(10, 95, "%")] = 80
    """Average use of memory that scaling aims at. AWS only."""
    latency_p95: Annotated[timedelta, Span("10ms", "60s")] = timedelta(milliseconds=500)
    """Response time at the 95th percentile above which a replica is added. AWS only."""
    requests_per_second: Annotated[int, Between(1, 100_000, "requests per second")] = 100
    """Requests per second and replica that scaling aims at. AWS only."""
    out_cooldown: Annotated[timedelta, Span("0s", "1h")] = timedelta(seconds=180)
    """Pause after adding replicas, in which only a greater need adds more: a minute each until a new one runs, takes
    load and shows in the average. With 60 s, a load that rises evenly over six hours turned scaling round 12 times."""
    in_cooldown: Annotated[timedelta, Span("0s", "1h")] = timedelta(seconds=300)
    """Pause after removing replicas, longer than `out_cooldown` so that a short dip does not flap."""


class WorkerScaling(Group):
    """When workers are added: by what users wait for. Off until `max_replicas` is set. AWS only.

    The thresholds are those of the production guide.
    """

    max_replicas: Annotated[int, Between(1, 1000, "replicas")] | None = None
    """Most replicas; the ceiling of the bill. Without it the number of replicas is fixed."""
    backlog_high: Annotated[int, Between(1, 1_000_000, "jobs")] = 100
    """Waiting jobs above which workers are added."""
    backlog_low: Annotated[int, Between(1, 1_000_000, "jobs")] = 10
    """Waiting jobs below which workers are removed, one after the other, as long as the rest has slots for the jobs
    under way and a fifth to spare; below `backlog_high`."""
    wait: Annotated[timedelta, Span("1s", "24h")] = timedelta(seconds=60)
    """Age of the oldest waiting job above which workers are added."""
    cpu: Annotated[int, Between(10, 95, "%")] = 80
    """Average processor load above which workers are added. It never removes one: the queue decides that."""
    out_cooldown: Annotated[timedelta, Span("0s", "1h")] = timedelta(seconds=60)
    """Pause after adding workers."""
    in_cooldown: Annotated[timedelta, Span("0s", "1h")] = timedelta(seconds=300)
    """Pause after removing workers."""


class Process(Group):
    """What every long-running process of the application has."""

    cpu: Annotated[float, Cpus(0.05, 16)] = 0.5
    """Processor of one replica in vCPUs. Cost on AWS: about 24 USD a month for each ARM vCPU (0.03238 USD/h list
    price in us-east-1, 730 h). On DigitalOcean `size` decides instead."""
    memory: Annotated[int, Size("64 MiB", "120 GiB")] = 1024**3
    """Memory of one replica. Cost on AWS: about 2.60 USD a month for each GiB (0.00356 USD/h). Fargate accepts fixed
    pairs of `cpu` and `memory` only."""
    size: Annotated[str, OneOf(tuple(DO_APP_SIZES), "App Platform instance size")] | None = None
    """Instance size on DigitalOcean, in place of `cpu` and `memory`; decides the bill. Only `apps-d-*` sizes (dedicated
    processor) can scale. Default there: `apps-s-1vcpu-1gb`, 12 USD a month."""
    pool_size: Annotated[int, Between(1, 1000, "connections"), Variable("DATABASE_POOL_SIZE", OWN)] = 5
    """Database connections that one process keeps (`DATABASE_POOL_SIZE`)."""
    pool_overflow: Annotated[int, Between(0, 1000, "connections"), Variable("DATABASE_MAX_OVERFLOW", OWN)] = 5
    """Database connections above the pool under load (`DATABASE_MAX_OVERFLOW`)."""
    pool_timeout: Annotated[Duration, Variable("DATABASE_POOL_TIMEOUT", OWN)] = timedelta(seconds=5)
    """Longest wait for a connection (`DATABASE_POOL_TIMEOUT`)."""
    rollout: Annotated[Rollout, Effect("the next rollout")] = Field(default_factory=Rollout)
    """How a new version takes over."""
    health: Health = Field(default_factory=Health)
    """When a replica counts as lost."""

    @property
    def connections(self) -> int:
        """Most database connections that one process of this kind holds: its pool, and one apart from it for the health
        check, so that a busy pool is not taken for a database that is down."""
        return self.pool_size + self.pool_overflow + 1


class Api(Process):
    """The HTTP API."""

    mode: Annotated[Literal["api", "all"], Effect(f"makes or removes the main workers and {ROLLS_API}")] = "api"
    """`all` runs a worker inside each API replica, for small systems: one service to pay for, and both scale together.
    The settings of `worker` then hold for that worker, and no worker service is made."""
    replicas: Annotated[
        int, Between(1, 1000, "replicas"), Effect("adds or removes replicas, without a restart of the others")
    ] = 2
    """Replicas that always run. Two, so that one can be lost or replaced."""
    host: Annotated[str, Text(r"[0-9A-Za-z:.-]{1,253}", "an address or host name"), Variable("HOST", API)] = "0.0.0.0"  # noqa: S104 - inside a container
    """Address to listen on (`HOST`). On the local target 127.0.0.1: nothing else reaches this machine's stack."""
    port: Annotated[int, Between(1, 65535), Variable("PORT", API)] = 3000
    """Port to listen on (`PORT`)."""
    rate_limit: RateLimit = Field(default_factory=RateLimit)
    """Requests allowed for one client."""
    login_failures: LoginFailures = Field(default_factory=LoginFailures)
    """Failed logins allowed before an account's next one is refused."""
    body_limit: Annotated[int, Size("1 KiB", "100 MiB"), Variable("BODY_LIMIT", API)] = 1024**2
    """Largest request body (`BODY_LIMIT`)."""
    request_timeout: Annotated[Duration, Variable("REQUEST_TIMEOUT", API)] = timedelta(seconds=30)
    """Longest time for one request, then 503 (`REQUEST_TIMEOUT`)."""
    keep_alive_timeout: Annotated[timedelta, Span("1s", "1h"), Variable("KEEP_ALIVE_TIMEOUT", API)] = timedelta(
        seconds=75
    )
    """Idle life of a connection (`KEEP_ALIVE_TIMEOUT`). Above the 60 s of a load balancer, which would otherwise send
    a request into a connection that is just being closed."""
    drain_timeout: Annotated[timedelta, Span("0s", "10m"), Variable("SHUTDOWN_DRAIN", API)] = timedelta(seconds=1)
    """After SIGTERM: how long to go on answering, with `Connection: close` (`SHUTDOWN_DRAIN`)."""
    shutdown_timeout: Annotated[Duration, Variable("SHUTDOWN_TIMEOUT", OWN)] = timedelta(seconds=25)
    """After that: how long requests under way may take (`SHUTDOWN_TIMEOUT`)."""
    stop_timeout: Annotated[timedelta, Span("2s", "10m")] = timedelta(seconds=30)
    """Time from SIGTERM to SIGKILL; above `drain_timeout` and `shutdown_timeout` together. Fargate allows 120 s."""
    trusted_proxies: Annotated[tuple[Annotated[str, _CIDR], ...], Variable("TRUSTED_PROXIES", API)] = ()
    """Networks whose `X-Forwarded-For` is believed (`TRUSTED_PROXIES`). Default on AWS: the VPC, which holds the load
    balancer."""
    scaling: Annotated[ApiScaling, Effect(IN_PLACE)] = Field(default_factory=ApiScaling)
    """When replicas are added."""


class WorkerGroup(Process):
    """Workers of one queue. A named group starts from the values of `worker` and states what differs."""

    replicas: Annotated[
        int, Between(0, 1000, "replicas"), Effect("adds or removes workers, which finish their jobs")
    ] = 1
    """Workers that always run. 0 only where scaling can wake one, or with `api.mode: all`."""
    queue: Annotated[
        str, QUEUE_NAME, Variable("QUEUE_NAME", API | WORKER), Effect(f"{ROLLS_ALL}; the sweeper moves waiting jobs")
    ] = "webhook-processor"
    """Queue that these workers serve (`QUEUE_NAME`). Default in a named group: the group's name."""
    concurrency: Annotated[int, Between(1, 1000, "jobs"), Variable("QUEUE_CONCURRENCY", WORKER)] = 10
    """Jobs at once in one worker (`QUEUE_CONCURRENCY`). About 20 suits work that waits on the network, 2 work that
    computes."""
    isolated_kinds: Annotated[JobKinds, Variable("QUEUE_ISOLATED_KINDS", WORKER)] = ()
    """Kinds of jobs that run each in a process of its own (`QUEUE_ISOLATED_KINDS`): for work that computes or may
    crash. Costs some ten milliseconds a job, and the memory of an interpreter for each of `concurrency`."""
    isolated_memory: Annotated[int, Size("0 B", "64 GiB"), Variable("QUEUE_ISOLATED_MEMORY", WORKER)] = 0
    """Memory that such a process may have (`QUEUE_ISOLATED_MEMORY`). 0: no limit of its own."""
    job_timeout: Annotated[timedelta, Span("1s", "24h"), Variable("QUEUE_JOB_TIMEOUT", API | WORKER)] = timedelta(
        seconds=100
    )
    """Longest run of one job (`QUEUE_JOB_TIMEOUT`). Not above `shutdown_timeout`, so that a replaced worker can
    finish."""
    lease: Annotated[timedelta, Span("1s", "24h"), Variable("QUEUE_LEASE", API | WORKER)] = timedelta(seconds=120)
    """How long a claimed job belongs to its worker (`QUEUE_LEASE`); not below `job_timeout`. After this time another
    worker takes a lost job over."""
    shutdown_timeout: Annotated[Duration, Variable("SHUTDOWN_TIMEOUT", OWN)] = timedelta(seconds=110)
    """After SIGTERM: how long running jobs may take to finish (`SHUTDOWN_TIMEOUT`). Those that are not done by then are
    handed back to other workers and run again. With `api.mode: all` that of `api` holds."""
    stop_timeout: Annotated[timedelta, Span("2s", "10m")] = timedelta(seconds=120)
    """Time from SIGTERM to SIGKILL; above `shutdown_timeout`, so that there is time to hand back. Fargate allows 120 s,
    App Platform 600 s."""
    spot: Annotated[bool, Effect("in place; new replicas")] = True
    """Run replicas above `replicas` on Fargate Spot: about 70 % cheaper, with two minutes' notice before one is taken
    away; the lease and the outbox make that safe. AWS only, and only with `scaling.max_replicas`."""
    scaling: Annotated[WorkerScaling, Effect(IN_PLACE)] = Field(default_factory=WorkerScaling)
    """When workers are added."""


class NamedGroup(WorkerGroup):
    """Further workers, for some kinds of jobs or for a queue that others fill."""

    kinds: Annotated[JobKinds, Effect(f"{ROLLS_API}; jobs on the other queue stay there until they are done")] = ()
    """Kinds of jobs that the API puts on this queue (`QUEUE_ROUTES`), to give them a size and a concurrency of their
    own. All others go to the main queue."""


class Worker(WorkerGroup):
    """The workers of the main queue, and what all workers share."""

    keep_completed: Annotated[int, Between(0, 1_000_000, "jobs"), Variable("QUEUE_REMOVE_ON_COMPLETE", WORKER)] = 100
    """Finished jobs that Redis keeps (`QUEUE_REMOVE_ON_COMPLETE`). Postgres keeps all of them."""
    keep_failed: Annotated[int, Between(0, 1_000_000, "jobs"), Variable("QUEUE_REMOVE_ON_FAIL", WORKER)] = 1000
    """Failed jobs that Redis keeps (`QUEUE_REMOVE_ON_FAIL`)."""
    sweep_interval: Annotated[timedelta, Span("1s", "24h"), Variable("SWEEP_INTERVAL", WORKER)] = timedelta(seconds=5)
    """How often a worker looks for due, lost or abandoned jobs (`SWEEP_INTERVAL`)."""
    urgent_kinds: Annotated[JobKinds, Variable("QUEUE_URGENT_KINDS", API | WORKER)] = ()
    """Kinds of jobs that go before all others on their queue (`QUEUE_URGENT_KINDS`)."""
    groups: Annotated[dict[Annotated[str, GROUP_NAME], NamedGroup], Effect("makes, removes or rolls that group")] = (
        Field(default_factory=dict)
    )
    """Further workers by name, each with its own queue, size and concurrency."""
