"""The API as its users meet it: errors, latency, and whether anybody answers at all."""

from __future__ import annotations

from collections.abc import Iterator

from infra.aws.alarms.model import HOUR, MINUTE, Alarm, Composite, Formula, Silence, Threshold, metrics
from infra.aws.alarms.monitored import MonitoredBalancer
from infra.settings.platform import Alerts

_FEWEST_ANSWERS = 20
"""Answers in five minutes below which a share means nothing: one error among three requests is no outage."""
_CERTIFICATE_DAYS = 30
"""ACM renews 60 days before the end; half of that gone without success needs a person."""

API_DEGRADED = Composite(
    role="api-degraded",
    means="The API serves badly: errors, slow answers or failing replicas. The message names which.",
    trouble="api-fails",
    members=("api-errors", "api-latency", "api-unhealthy", "api-rejected"),
    silenced_by="api-down",
)
"""Errors, latency and failing checks are mostly one event; with nobody left to answer, that alone is said."""


def api_alarms(balancer: MonitoredBalancer, alerts: Alerts) -> Iterator[Alarm]:
    """Alarms of the load balancer and its target group."""
    whole, target = balancer.whole, balancer.target
    latency = alerts.latency_p95.total_seconds()
    yield Alarm(
        role="api-down",
        means="No replica of the API is healthy: nobody is served.",
        trouble="api-fails",
        # Maximum is the best view of all the balancer's nodes.
        when=Threshold(target("HealthyHostCount", "Maximum"), below=1, periods=3),
        silence=Silence(
            "breaching", "the count is reported for as long as there are targets; silence means that there are none"
        ),
    )
    yield Alarm(
        role="api-errors",
        means=f"More than {alerts.error_percent} % of answers in five minutes were 5xx.",
        trouble="api-fails",
        when=Threshold(_error_share(balancer), above=alerts.error_percent, period=5 * MINUTE),
        silence=Silence("notBreaching", "a load balancer without requests reports nothing, and has no errors"),
        notified_by=API_DEGRADED.role,
    )
    yield Alarm(
        role="api-latency",
        means=f"5 % of answers took longer than {latency:g} s, for fifteen minutes: longer than scaling needs to help.",
        trouble="api-slow",
        when=Threshold(target("TargetResponseTime", "p95"), above=latency, period=5 * MINUTE, periods=3),
        silence=Silence("notBreaching", "without requests nobody waits"),
        notified_by=API_DEGRADED.role,
    )
    yield Alarm(
        role="api-unhealthy",
        means="A replica of the API has failed its health check for five minutes without being replaced.",
        trouble="api-fails",
        when=Threshold(target("UnHealthyHostCount", "Maximum"), above=0, periods=5),
        silence=Silence("notBreaching", "no targets at all is what api-down tells"),
        notified_by=API_DEGRADED.role,
    )
    yield Alarm(
        role="api-rejected",
        means="The load balancer refused connections because it had too many.",
        trouble="api-fails",
        when=Threshold(whole("RejectedConnectionCount", "Sum"), above=0, period=5 * MINUTE),
        silence=Silence("notBreaching", "the count is reported only when it is not zero"),
        notified_by=API_DEGRADED.role,
    )
    if balancer.certificate_arn is not None:
        certificate = metrics("AWS/CertificateManager", {"CertificateArn": balancer.certificate_arn})
        yield Alarm(
            role="certificate-expiring",
            means=f"The certificate ends in less than {_CERTIFICATE_DAYS} days and has not been renewed.",
            trouble="certificate-expires",
            when=Threshold(certificate("DaysToExpiry", "Minimum"), below=_CERTIFICATE_DAYS, period=24 * HOUR),
            silence=Silence("ignore", "ACM reports twice a day at hours of its own; a gap says nothing new"),
        )


def _error_share(balancer: MonitoredBalancer) -> Formula:
    """Percent of answers with 5xx. Those of the balancer itself count too, and stand beside `RequestCount`, which
    leaves out requests that found no target: with all replicas gone the share is 100, not 0 of 0."""
    failed = "(FILL(failed, 0) + FILL(refused, 0))"
    answers = "(FILL(served, 0) + FILL(refused, 0))"
    return Formula(
        expression=f"IF({answers} >= {_FEWEST_ANSWERS}, 100 * {failed} / {answers}, 0)",
        label="5xx answers, %",
        metrics={
            "failed": balancer.target("HTTPCode_Target_5XX_Count", "Sum"),
            "refused": balancer.whole("HTTPCode_ELB_5XX_Count", "Sum"),
            "served": balancer.target("RequestCount", "Sum"),
        },
    )
