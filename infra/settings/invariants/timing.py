"""Times that must stand in an order, so that nothing is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from infra.settings import tables
from infra.settings.invariants.broken import Broken, Context, Found
from infra.settings.units import format_duration

_LIMITS: Final = {
    "aws": ("Fargate", timedelta(seconds=tables.FARGATE_STOP_TIMEOUT_S)),
    "digitalocean": ("App Platform", timedelta(seconds=tables.DO_APP_STOP_TIMEOUT_S)),
}
_BALANCER_IDLE: Final = timedelta(seconds=60)
"""Idle timeout of an Application Load Balancer (its default, which the stacks keep)."""
_MARGIN: Final = timedelta(seconds=5)
"""Between the application's own end and the platform's SIGKILL: time to write the last lines and to exit."""


def api_stop(context: Context) -> Found:
    """The API drains, then ends its requests, and all that before it is killed."""
    api = context.settings.api
    ends = api.drain_timeout + api.shutdown_timeout
    yield from _order(
        ends <= api.stop_timeout,
        path="api.stop_timeout",
        message=f"kills replicas before api.drain_timeout and api.shutdown_timeout "
        f"({format_duration(ends)} together) are over",
        allowed=f"{format_duration(ends)} or more",
        suggestion=ends + _MARGIN,
        also=("api.drain_timeout", "api.shutdown_timeout"),
    )
    # A request that may take longer than a stopping replica waits would be cut off at every rollout.
    longest = api.drain_timeout + api.shutdown_timeout
    if context.settings.environment == "production" and api.request_timeout > longest + _MARGIN:
        yield Broken(
            "api.request_timeout",
            f"is longer than a stopping replica waits for requests ({format_duration(longest)}), so that a "
            f"rollout would cut them off",
            allowed=f"up to {format_duration(longest + _MARGIN)}, or a longer api.shutdown_timeout",
            suggestion=format_duration(longest),
            also=("api.drain_timeout", "api.shutdown_timeout"),
        )


def worker_stop(context: Context) -> Found:
    """A stopping worker finishes its jobs, and must get the time; what is left it hands back."""
    combined = context.settings.api.mode == "all"
    for path, group in context.workers():
        shutdown, where = group.shutdown_timeout, f"{path}.shutdown_timeout"
        if combined and path == "worker":
            shutdown, where = context.settings.api.shutdown_timeout, "api.shutdown_timeout"
        else:
            yield from _order(
                shutdown < group.stop_timeout,
                path=f"{path}.stop_timeout",
                message=f"kills workers before {path}.shutdown_timeout ({format_duration(shutdown)}) is over "
                f"and they have handed back what is left",
                allowed=f"more than {format_duration(shutdown)}",
                suggestion=shutdown + _MARGIN,
                also=(where,),
            )
        if context.settings.environment == "production" and group.job_timeout > shutdown:
            yield Broken(
                f"{path}.job_timeout",
                f"is above {where} ({format_duration(shutdown)}): every rollout would cut long jobs short",
                allowed=f"up to {format_duration(shutdown)}. Split longer work: start it, then ask for its result",
                suggestion=format_duration(shutdown),
                also=(where, "api.mode"),
            )


def platform_stop(context: Context) -> Found:
    """Platforms grant a limited time to stop."""
    if (limit := _LIMITS.get(context.settings.target)) is None:
        return
    name, most = limit
    for path, process in context.processes():
        yield from _order(
            process.stop_timeout <= most,
            path=f"{path}.stop_timeout",
            message=f"is longer than {name} waits",
            allowed=f"up to {format_duration(most)}",
            suggestion=most,
            also=("target",),
        )


def leases(context: Context) -> Found:
    """A lease that ends before its job hands the job to a second worker."""
    for path, group in context.workers():
        yield from _order(
            group.lease >= group.job_timeout,
            path=f"{path}.lease",
            message=f"ends before {path}.job_timeout ({format_duration(group.job_timeout)}): another worker "
            f"would take the job over while it still runs",
            allowed=f"{format_duration(group.job_timeout)} or more",
            suggestion=group.job_timeout + 4 * _MARGIN,
            also=(f"{path}.job_timeout",),
        )
        yield from _order(
            context.settings.deliveries.timeout < group.job_timeout,
            path="deliveries.timeout",
            message=f"is not below {path}.job_timeout ({format_duration(group.job_timeout)}), which would end "
            f"the attempt first and leave no record of it",
            allowed=f"less than {format_duration(group.job_timeout)}",
            suggestion=group.job_timeout / 2,
            also=(f"{path}.job_timeout",),
        )


def backoff(context: Context) -> Found:
    deliveries = context.settings.deliveries
    yield from _order(
        deliveries.backoff <= deliveries.backoff_max,
        path="deliveries.backoff_max",
        message=f"is below deliveries.backoff ({format_duration(deliveries.backoff)})",
        allowed=f"{format_duration(deliveries.backoff)} or more",
        suggestion=max(deliveries.backoff, timedelta(minutes=10)),
        also=("deliveries.backoff",),
    )


def keep_alive(context: Context) -> Found:
    """Behind a balancer, the application must not be the first to close an idle connection."""
    yield from _order(
        context.settings.target == "local" or context.settings.api.keep_alive_timeout > _BALANCER_IDLE,
        path="api.keep_alive_timeout",
        message="is not above the 60s after which the load balancer drops an idle connection: requests sent into a "
        "connection that is just being closed end as 502",
        allowed="more than 60s",
        suggestion=_BALANCER_IDLE + 3 * _MARGIN,
        also=("target",),
    )


def token_life(context: Context) -> Found:
    jwt = context.settings.jwt
    yield from _order(
        jwt.access_expires_in <= jwt.refresh_expires_in,
        path="jwt.refresh_expires_in",
        message=f"is below jwt.access_expires_in ({format_duration(jwt.access_expires_in)})",
        allowed=f"{format_duration(jwt.access_expires_in)} or more",
        suggestion=max(jwt.access_expires_in, timedelta(days=7)),
        also=("jwt.access_expires_in",),
    )
    for name in ("access_expires_in", "refresh_expires_in"):
        yield from _order(
            getattr(jwt, name) % timedelta(seconds=1) == timedelta(),
            path=f"jwt.{name}",
            message="is not in whole seconds, as tokens count them",
            allowed="whole seconds",
            suggestion=timedelta(seconds=max(1, round(getattr(jwt, name).total_seconds()))),
        )


def health(context: Context) -> Found:
    for path, process in context.processes():
        check = process.health
        yield from _order(
            check.timeout < check.interval,
            path=f"{path}.health.timeout",
            message=f"is not below {path}.health.interval ({format_duration(check.interval)}): checks would overlap",
            allowed=f"less than {format_duration(check.interval)}",
            suggestion=max(check.interval / 2, timedelta(seconds=2)),
            also=(f"{path}.health.interval",),
        )


def thresholds(context: Context) -> Found:
    """Two thresholds that touch make scaling flap."""
    for path, group in context.workers():
        if group.scaling.backlog_low >= group.scaling.backlog_high:
            yield Broken(
                f"{path}.scaling.backlog_low",
                f"is not below backlog_high ({group.scaling.backlog_high}): workers would be added and removed "
                f"at the same time",
                allowed=f"less than {group.scaling.backlog_high}",
                suggestion=str(group.scaling.backlog_high // 10),
                also=(f"{path}.scaling.backlog_high",),
            )


def _order(
    holds: bool, *, path: str, message: str, allowed: str, suggestion: timedelta, also: tuple[str, ...] = ()
) -> Iterator[Broken]:
    if not holds:
        yield Broken(path, message, allowed=allowed, suggestion=format_duration(suggestion), also=also)


RULES: Final = (api_stop, worker_stop, platform_stop, leases, backoff, keep_alive, token_life, health, thresholds)
