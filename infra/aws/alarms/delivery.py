"""The messages themselves: an alarm that reaches nobody is worse than none."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi

from infra.aws.alarms.model import MINUTE, Alarm, Formula, Silence, Threshold, metrics


def delivery_alarms(topic: pulumi.Input[str], rules: Mapping[str, pulumi.Input[str]]) -> tuple[Alarm, ...]:
    """Alarms of the topic and of the event rules, by their names; `rules` are by role."""
    failed = metrics("AWS/SNS", {"TopicName": topic})("NumberOfNotificationsFailed", "Sum")
    lost = {
        f"rule{number}": metrics("AWS/Events", {"RuleName": name})("FailedInvocations", "Sum")
        for number, name in enumerate(rules.values())
    }
    all_lost = Formula(expression=" + ".join(f"FILL({key}, 0)" for key in lost), label="events lost", metrics=lost)
    return (
        Alarm(
            role="messages-undelivered",
            means="SNS could not deliver a message: a receiver refuses it. The others have it.",
            trouble="nobody-is-told",
            when=Threshold(failed, above=0, period=5 * MINUTE),
            silence=Silence("notBreaching", "a topic without messages reports nothing, and has lost none"),
        ),
        Alarm(
            role="events-undelivered",
            means="EventBridge could not hand an event to the topic: its policy or its key does not let it.",
            trouble="nobody-is-told",
            when=Threshold(all_lost, above=0, period=5 * MINUTE),
            silence=Silence("notBreaching", "a rule that no event has met reports nothing"),
        ),
    )
