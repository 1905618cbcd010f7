"""Times that must stand in an order, so that nothing is cut off."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from infra.settings import tables
from infra.settings.invariants.broken import Broken, Context, Found
from infra.settings.units import format_duration

_LIMITS: Final = {
    "aws": ("Fargate", timedelta(seconds=tables.FARGATE_STOP_TIMEOUT_S)),
    "digitalocean": ("App Platform", timedelta(seconds=tables.DO_APP_STOP_TIMEOUT_S)),
}
_HOLDS: Final[Mapping[str, Callable[[timedelta, timedelta], bool]]] = {
    "{} or more": operator.ge,
    "more than {}": operator.gt,
    "up to {}": operator.le,
    "less than {}": operator.lt,
}
"""What is allowed, as a phrase about a limit, and when a value keeps to it."""
_BALANCER_IDLE: Final = timedelta(seconds=60)
"""Idle timeout of an Application Load Balancer (its default, which the stacks keep)."""
_MARGIN: Final = timedelta(seconds=5)
"""Between the application's own end and the platform's SIGKILL: time to write the last lines and to exit."""


def api_stop(context: Context) -> Found:
    """The API drains, then ends its requests, and all that before it is killed."""
    api, parts = context.settings.api, ("api.drain_timeout", "api.shutdown_timeout")
    ends = api.drain_timeout + api.shutdown_timeout
    message = "kills replicas before api.drain_timeout and api.shutdown_timeout ({} together) are over"
    yield from _order("api.stop_timeout", api.stop_timeout, "{} or more", ends, message, ends + _MARGIN, *parts)
    # A request that may take longer than a stopping replica waits would be cut off at every rollout.
    if context.settings.environment == "production" and api.request_timeout > ends + _MARGIN:
        yield Broken(
            "api.request_timeout",
            f"is longer than a stopping replica waits for requests ({format_duration(ends)}), so that a "
            f"rollout would cut them off",
            allowed=f"up to {format_duration(ends + _MARGIN)}, or a longer api.shutdown_timeout",
            suggestion=format_duration(ends),
            also=parts,
        )


def worker_stop(context: Context) -> Found:
    """A stopping worker finishes its jobs, and must get the time; what is left it hands back."""
    combined = context.settings.api.mode == "all"
    for path, group in context.workers():
        shutdown, where = group.shutdown_timeout, f"{path}.shutdown_timeout"
        if combined and path == "worker":
            shutdown, where = context.settings.api.shutdown_timeout, "api.shutdown_timeout"
        else:
            message = f"kills workers before {where} ({{}}) is over and they have handed back what is left"
            stop, suggestion = group.stop_timeout, shutdown + _MARGIN
            yield from _order(f"{path}.stop_timeout", stop, "more than {}", shutdown, message, suggestion, where)
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
        message = f"is longer than {name} waits"
        yield from _order(f"{path}.stop_timeout", process.stop_timeout, "up to {}", most, message, most)


def leases(context: Context) -> Found:
    """A lease that ends before its job hands the job to a second worker."""
    for path, group in context.workers():
        timeout, where = group.job_timeout, f"{path}.job_timeout"
        message = f"ends before {where} ({{}}): another worker would take the job over while it still runs"
        yield from _order(f"{path}.lease", group.lease, "{} or more", timeout, message, timeout + 4 * _MARGIN, where)
        attempt = context.settings.deliveries.timeout
        message = f"is not below {where} ({{}}), which would end the attempt first and leave no record of it"
        yield from _order("deliveries.timeout", attempt, "less than {}", timeout, message, timeout / 2, where)


def backoff(context: Context) -> Found:
    deliveries, where = context.settings.deliveries, "deliveries.backoff"
    first, suggestion = deliveries.backoff, max(deliveries.backoff, timedelta(minutes=10))
    yield from _order(
        f"{where}_max", deliveries.backoff_max, "{} or more", first, f"is below {where} ({{}})", suggestion, where
    )


def keep_alive(context: Context) -> Found:
    """Behind a balancer, the application must not be the first to close an idle connection."""
    if context.settings.target != "local" and context.settings.api.keep_alive_timeout <= _BALANCER_IDLE:
        yield Broken(
            "api.keep_alive_timeout",
            "is not above the 60s after which the load balancer drops an idle connection: requests sent into a "
            "connection that is just being closed end as 502",
            allowed="more than 60s",
            suggestion=format_duration(_BALANCER_IDLE + 3 * _MARGIN),
        )


def token_life(context: Context) -> Found:
    jwt, where = context.settings.jwt, "jwt.access_expires_in"
    access, refresh = jwt.access_expires_in, jwt.refresh_expires_in
    message, suggestion = f"is below {where} ({{}})", max(access, timedelta(days=7))
    yield from _order("jwt.refresh_expires_in", refresh, "{} or more", access, message, suggestion, where)
    for name, span in (("access_expires_in", access), ("refresh_expires_in", refresh)):
        if span % timedelta(seconds=1):
            whole = timedelta(seconds=max(1, round(span.total_seconds())))
            message = "is not in whole seconds, as tokens count them"
            yield Broken(f"jwt.{name}", message, allowed="whole seconds", suggestion=format_duration(whole))


def health(context: Context) -> Found:
    for path, process in context.processes():
        timeout, interval, where = process.health.timeout, process.health.interval, f"{path}.health.interval"
        message = f"is not below {where} ({{}}): checks would overlap"
        suggestion = max(interval / 2, timedelta(seconds=2))
        yield from _order(f"{path}.health.timeout", timeout, "less than {}", interval, message, suggestion, where)


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
    path: str, value: timedelta, allowed: str, limit: timedelta, message: str, suggestion: timedelta, *also: str
) -> Found:
    """Whether `value` stands to `limit` as `allowed` says. ``{}`` in `allowed` and in `message` is the limit."""
    if not _HOLDS[allowed](value, limit):
        most = format_duration(limit)
        allowed, message = allowed.format(most), message.format(most)
        yield Broken(path, message, allowed=allowed, suggestion=format_duration(suggestion), also=also)


RULES: Final = (api_stop, worker_stop, platform_stop, leases, backoff, keep_alive, token_life, health, thresholds)
