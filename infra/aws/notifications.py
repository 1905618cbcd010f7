"""Where alarms and events are sent: an encrypted topic, its receivers, and who may publish to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws

from infra.aws import naming
from infra.aws.iam import Statement, account_statement, document, policy
from infra.component import Component, ComponentArgs

PUBLISHERS: Final = ("budgets.amazonaws.com", "cloudwatch.amazonaws.com")
"""The services that publish and say for which account: the budget, alarms."""
EVENTS: Final = "events.amazonaws.com"
"""EventBridge publishes, too, and says nothing by which a condition could know the account: with one, every event would
be dropped (EventBridge user guide, resource-based policies, Amazon SNS permissions)."""


@dataclass(frozen=True, kw_only=True)
class NotificationsArgs(ComponentArgs):
    """At least one receiver. `account` and `region` are those of the stack."""

    emails: tuple[str, ...]
    webhook: pulumi.Output[str] | None
    """An https address, as a secret."""
    account: pulumi.Input[str]
    region: str
    key: pulumi.Input[str] | None = None
    """A KMS key whose policy lets `PUBLISHERS` and `EVENTS` use it; without one the topic gets its own."""


class Notifications(Component):
    """The topic to which every alarm and event of the stack is published.

    Creates: an SNS topic, encrypted with `key` or a key of its own; its policy; a subscription for each receiver.
    Costs: 1 USD a month for a key of its own; messages are free at this scale. Exports: `topic_arn`, `topic_name`.
    Replaces: nothing; a changed receiver gets a new subscription, which a person has to confirm from the first message.
    """

    topic_arn: pulumi.Output[str]
    topic_name: pulumi.Output[str]

    def __init__(self, name: str, args: NotificationsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:Notifications", name, opts, args.transforms)
        topic = self.inner(
            "topic",
            aws.sns.Topic,
            {
                "name": naming.physical_name("alerts", limit=256),
                "display_name": f"{pulumi.get_project()} {pulumi.get_stack()}"[:100],
                "kms_master_key_id": args.key if args.key is not None else self._own_key(args),
            },
        )
        allowed = self.inner(
            "policy",
            aws.sns.TopicPolicy,
            {"arn": topic.arn, "policy": policy(*_topic_policy(topic.arn, args.account))},
        )
        for email in dict.fromkeys(args.emails):
            receiver = {"topic": topic.arn, "protocol": "email", "endpoint": email}
            self.inner(f"email-{email}", aws.sns.TopicSubscription, receiver)
        if args.webhook is not None:
            # On-call services confirm by themselves, within a minute of the request.
            self.inner(
                "webhook",
                aws.sns.TopicSubscription,
                {
                    "topic": topic.arn,
                    "protocol": "https",
                    "endpoint": args.webhook,
                    "endpoint_auto_confirms": True,
                    "confirmation_timeout_in_minutes": 5,
                },
            )
        # With its policy only: what alarms and events say before that is dropped without a sign.
        self.topic_arn = pulumi.Output.all(topic.arn, allowed.id).apply(lambda parts: str(parts[0]))
        self.topic_name = topic.name
        self.finish({"topic_arn": self.topic_arn})

    def _own_key(self, args: NotificationsArgs) -> pulumi.Output[str]:
        """The key that AWS manages for SNS lets no service publish, and its policy cannot be changed: every alarm
        would be lost without a sign."""
        allowed = pulumi.Output.from_input(args.account).apply(
            # The account administers the key; the publishers use it.
            lambda account: document(
                account_statement(account, naming.partition(args.region)),
                *encryption_of_alerts(account, sid="Speakers"),
            )
        )
        key = self.inner(
            "key",
            aws.kms.Key,
            {
                "description": f"Alerts of {pulumi.get_project()}-{pulumi.get_stack()}",
                "enable_key_rotation": True,
                # Messages are not kept, so nothing is lost with the key.
                "deletion_window_in_days": 7,
                "policy": pulumi.Output.json_dumps(allowed),
            },
            protect=False,
        )
        arn: pulumi.Output[str] = key.arn
        return arn


def _topic_policy(topic_arn: pulumi.Input[str], account: pulumi.Input[str]) -> tuple[Statement, ...]:
    """The account's alarms, events and budgets publish, over TLS; nobody else does."""
    return (
        *_publishing("sns:Publish", topic_arn, account=account, sid="Speakers"),
        Statement(
            sid="TlsOnly",
            effect="Deny",
            principal="*",
            actions="sns:Publish",
            resources=topic_arn,
            conditions={"Bool": {"aws:SecureTransport": "false"}},
        ),
    )


def encryption_of_alerts(account: str, *, sid: str) -> tuple[Statement, Statement]:
    """Of a key's policy: messages reach an encrypted topic only when who publishes them may use its key."""
    return _publishing(("kms:Decrypt", "kms:GenerateDataKey*"), "*", account=account, sid=sid)


def _publishing(
    actions: str | tuple[str, ...], resources: pulumi.Input[str], *, account: pulumi.Input[str], sid: str
) -> tuple[Statement, Statement]:
    return (
        Statement(
            sid=sid,
            principal={"Service": list(PUBLISHERS)},
            actions=actions,
            resources=resources,
            conditions={"StringEquals": {"aws:SourceAccount": account}},
        ),
        Statement(sid="Events", principal={"Service": EVENTS}, actions=actions, resources=resources),
    )
