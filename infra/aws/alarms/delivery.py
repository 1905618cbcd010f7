"""The messages themselves: an alarm that reaches nobody is worse than none."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi

from infra.aws.alarms.model import MINUTE, Alarm, Formula, metrics


def delivery_alarms(topic: pulumi.Input[str], rules: Mapping[str, pulumi.Input[str]]) -> tuple[Alarm, ...]:
    """Alarms of the topic and of the event rules, by their names; `rules` are by role."""
    lost = {
        f"rule{number}": metrics("AWS/Events", {"RuleName": name})("FailedInvocations", "Sum")
        for number, name in enumerate(rules.values())
    }
    return (
        Alarm(
            role="messages-undelivered",
            means="SNS could not deliver a message: a receiver refuses it. The others have it.",
            trouble="nobody-is-told",
            measure=metrics("AWS/SNS", {"TopicName": topic})("NumberOfNotificationsFailed", "Sum"),
            above=0,
            period=5 * MINUTE,
            periods=1,
            missing="notBreaching",
            because="a topic without messages reports nothing, and has lost none",
        ),
        Alarm(
            role="events-undelivered",
            means="EventBridge could not hand an event to the topic: its policy or its key does not let it.",
            trouble="nobody-is-told",
            measure=Formula(
                expression=" + ".join(f"FILL({key}, 0)" for key in lost), label="events lost", metrics=lost
            ),
            above=0,
            period=5 * MINUTE,
            periods=1,
            missing="notBreaching",
            because="a rule that no event has met reports nothing",
        ),
    )
