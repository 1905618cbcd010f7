"""Who watches the stack while nobody looks: alarms, events, a dashboard and the month's bill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from infra.aws import queue_metrics
from infra.aws.alarms import catalogue
from infra.aws.alarms.delivery import delivery_alarms
from infra.aws.alarms.events import Event, events
from infra.aws.alarms.model import Alarm, Composite
from infra.aws.alarms.monitored import Monitored, MonitoredService
from infra.aws.alarms.services import error_metric
from infra.aws.dashboard import body
from infra.aws.naming import physical_name
from infra.aws.notifications import Notifications, NotificationsArgs
from infra.component import Component, ComponentArgs
from infra.settings.platform import Alerts

_LONGEST_NAME: Final = {"alarm": 255, "rule": 64, "dashboard": 255, "budget": 100}
_QUIET_FIRST: Final = 60
"""Seconds that a combined alarm waits for the worse one before it notifies, and stays silent after it."""
ERROR_ENTRIES: Final = '{ ($.level = "error") || ($.level = "critical") }'


@dataclass(frozen=True, kw_only=True)
class MonitoringArgs(ComponentArgs):
    """What is monitored, when people are notified, and who: `alerts.emails` and `webhook`."""

    monitored: Monitored
    alerts: Alerts
    region: str
    account: pulumi.Input[str]
    webhook: pulumi.Output[str] | None = None
    """An https address, as a secret."""
    key: pulumi.Input[str] | None = None
    """The stack's KMS key, where it has one."""


class Monitoring(Component):
    """Alarms, the events that no metric shows, a dashboard, and a budget.

    Creates: the alarms of `infra.aws.alarms`, alarms that combine some, a metric filter for each JSON log, a dashboard;
    with a receiver an encrypted topic and event rules besides; with `alerts.monthly_budget` a budget. Costs, at the
    list price: 0.10 USD a month for each alarm, and again for each metric beyond the first that it combines, 0.50 USD
    for each combined alarm, 3 USD for the dashboard, 1 USD for the topic's key, 0.30 USD for each custom metric: about
    12 USD for a stack with one worker group. Exports: `topic_arn` (None without a receiver) and
    `dashboard_url`. Replaces: nothing that keeps anything.
    """

    topic_arn: pulumi.Output[str] | None
    dashboard_url: pulumi.Output[str]

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:Monitoring", name, opts, args.transforms)
        self._args = args
        notifications = None
        if args.alerts.emails or args.webhook is not None:
            receivers = NotificationsArgs(
                emails=args.alerts.emails, webhook=args.webhook, account=args.account, region=args.region, key=args.key
            )
            notifications = Notifications("notifications", receivers, pulumi.ResourceOptions(parent=self))
        self.topic_arn = notifications.topic_arn if notifications is not None else None
        actions = [self.topic_arn] if self.topic_arn is not None else []

        for service in args.monitored.services:
            if service.log_group is not None:
                self._count_errors(service, service.log_group)
        made = {alarm.role: self._alarm(alarm, actions) for alarm in catalogue.alarms(args.monitored, args.alerts)}
        for composite in catalogue.composites(args.monitored):
            self._composite(composite, made, actions)
        if notifications is not None:
            rules = {event.role: self._send_on(event, notifications) for event in events(args.monitored)}
            for alarm in delivery_alarms(notifications.topic_name, rules):
                made[alarm.role] = self._alarm(alarm, actions)
        self.dashboard_url = self._dashboard([alarm.arn for alarm in made.values()])
        if args.alerts.monthly_budget is not None:
            self._budget(args.alerts.monthly_budget, actions)
        self.finish({"topic_arn": self.topic_arn, "dashboard_url": self.dashboard_url})

    def _alarm(self, alarm: Alarm, actions: list[pulumi.Output[str]]) -> aws.cloudwatch.MetricAlarm:
        own = actions if alarm.notified_by is None else []
        properties = {**alarm.properties(), "name": _name("alarm", alarm.role), **_notifying(own)}
        return self.inner(alarm.role, aws.cloudwatch.MetricAlarm, properties)

    def _composite(
        self, composite: Composite, made: Mapping[str, aws.cloudwatch.MetricAlarm], actions: list[pulumi.Output[str]]
    ) -> None:
        members = [made[role].name for role in composite.members]
        any_of = pulumi.Output.all(*members).apply(lambda names: " OR ".join(f'ALARM("{name}")' for name in names))
        properties = {
            "alarm_name": _name("alarm", composite.role),
            "alarm_description": composite.description,
            "alarm_rule": any_of,
            **_notifying(actions),
        }
        if composite.silenced_by is not None:
            properties["actions_suppressor"] = {
                "alarm": made[composite.silenced_by].name,
                "wait_period": _QUIET_FIRST,
                "extension_period": _QUIET_FIRST,
            }
        self.inner(composite.role, aws.cloudwatch.CompositeAlarm, properties)

    def _count_errors(self, service: MonitoredService, log_group: pulumi.Input[str]) -> None:
        metric = error_metric(service.role, self._args.monitored.stack)
        self.inner(
            f"{service.role}-errors",
            aws.cloudwatch.LogMetricFilter,
            {
                "name": _name("alarm", f"{service.role}-errors"),
                "log_group_name": log_group,
                "pattern": ERROR_ENTRIES,
                "metric_transformation": {
                    "namespace": queue_metrics.NAMESPACE,
                    "name": metric.name,
                    "value": "1",
                    "default_value": "0",
                },
            },
        )

    def _send_on(self, event: Event, notifications: Notifications) -> pulumi.Output[str]:
        """Make a rule; its name."""
        rule = self.inner(
            event.role,
            aws.cloudwatch.EventRule,
            {
                "name": _name("rule", event.role),
                "description": event.means,
                "event_pattern": pulumi.Output.json_dumps(event.pattern),
            },
        )
        self.inner(
            f"{event.role}-target",
            aws.cloudwatch.EventTarget,
            {
                "rule": rule.name,
                "arn": notifications.topic_arn,
                "input_transformer": {"input_paths": dict(event.paths), "input_template": event.template},
            },
        )
        name: pulumi.Output[str] = rule.name
        return name

    def _dashboard(self, alarm_arns: list[pulumi.Output[str]]) -> pulumi.Output[str]:
        region = self._args.region
        shown = body(self._args.monitored, region=region, alarm_arns=alarm_arns)
        dashboard = self.inner(
            "dashboard",
            aws.cloudwatch.Dashboard,
            {"dashboard_name": _name("dashboard", "overview"), "dashboard_body": pulumi.Output.json_dumps(shown)},
        )
        console = "console.amazonaws-us-gov.com" if region.startswith("us-gov-") else "console.aws.amazon.com"
        return pulumi.Output.concat(
            f"https://{region}.{console}/cloudwatch/home?region={region}#dashboards/dashboard/",
            dashboard.dashboard_name,
        )

    def _budget(self, limit: int, actions: list[pulumi.Output[str]]) -> None:
        """Of the whole account: a bill that runs away rarely carries the right tags."""
        spent = {"comparison_operator": "GREATER_THAN", "threshold": 100, "threshold_type": "PERCENTAGE"}
        self.inner(
            "budget",
            aws.budgets.Budget,
            {
                "name": _name("budget", "monthly"),
                "budget_type": "COST",
                "time_unit": "MONTHLY",
                "limit_amount": str(limit),
                "limit_unit": "USD",
                "notifications": [
                    {"notification_type": kind, **spent, "subscriber_sns_topic_arns": actions}
                    for kind in ("FORECASTED", "ACTUAL")
                    if actions
                ],
            },
        )


def _name(kind: str, role: str) -> str:
    """A name of its own: people read it in messages and on the dashboard."""
    return physical_name(role, limit=_LONGEST_NAME[kind])


def _notifying(actions: list[pulumi.Output[str]]) -> dict[str, Any]:
    """Both when it starts and when it is over: on-call services close an incident by the second."""
    return {"alarm_actions": actions, "ok_actions": actions} if actions else {}
