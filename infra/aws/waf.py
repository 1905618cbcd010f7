"""The web application firewall before the load balancer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from infra.aws.naming import physical_name
from infra.component import Component

LOG_PREFIX: Final = "aws-waf-logs-"
"""WAF writes only to destinations whose names begin like this."""
WINDOW: Final = 300
"""Seconds over which the rate rule counts."""
HIDDEN_HEADERS: Final = ("authorization", "cookie")
"""Headers that hold credentials; WAF's log shows the others."""


_PAYLOAD: Final = "a delivery's payload is any text: pages with scripts, paths, SQL. The API stores and forwards it"
MANAGED: Final[Mapping[str, Mapping[str, str]]] = {
    "AWSManagedRulesAmazonIpReputationList": {},
    "AWSManagedRulesCommonRuleSet": {
        "CrossSiteScripting_BODY": _PAYLOAD,
        "GenericLFI_BODY": _PAYLOAD,
        "GenericRFI_BODY": "it blocks bodies that hold URLs with an address; a delivery's body is about a URL",
        "SizeRestrictions_BODY": "it blocks bodies above 8 KB; the application has its own limit",
    },
    "AWSManagedRulesKnownBadInputsRuleSet": {},
    "AWSManagedRulesSQLiRuleSet": {"SQLi_BODY": _PAYLOAD},
}
"""The groups of rules that AWS maintains, in the order in which they look: 25, 700, 200 and 200 of the 1,500 capacity
units that come without extra cost. Of each, the rules that only count, and why they do not block here."""


def firewall(
    owner: Component,
    *,
    balancer_arn: pulumi.Input[str],
    rate_limit: int,
    retention_days: int,
    key_arn: pulumi.Input[str] | None,
) -> pulumi.Resource:
    """Make the web ACL, put it before the balancer and log what it blocks; its association, to wait for. `rate_limit`
    is requests of one address in `WINDOW` seconds."""
    acl = owner.inner(
        "waf",
        aws.wafv2.WebAcl,
        {
            "scope": "REGIONAL",
            "description": f"Before the API of {pulumi.get_project()} {pulumi.get_stack()}",
            "default_action": {"allow": {}},
            "rules": [
                _rate_rule(rate_limit),
                *(_managed(name, counted, place) for place, (name, counted) in enumerate(MANAGED.items(), start=1)),
            ],
            "visibility_config": _visible("waf"),
        },
    )
    association: pulumi.Resource = owner.inner(
        "waf-association", aws.wafv2.WebAclAssociation, {"resource_arn": balancer_arn, "web_acl_arn": acl.arn}
    )
    name = LOG_PREFIX + physical_name("waf", limit=200)
    kept = {"name": name, "retention_in_days": retention_days, "kms_key_id": key_arn}
    log = owner.inner("waf-log", aws.cloudwatch.LogGroup, kept)
    owner.inner(
        "waf-logging",
        aws.wafv2.WebAclLoggingConfiguration,
        {
            "resource_arn": acl.arn,
            "log_destination_configs": [log.arn],
            "redacted_fields": [{"single_header": {"name": header}} for header in HIDDEN_HEADERS],
            # Everything that passes is in the balancer's own log, at a tenth of the price.
            "logging_filter": {
                "default_behavior": "DROP",
                "filters": [
                    {
                        "behavior": "KEEP",
                        "requirement": "MEETS_ANY",
                        "conditions": [{"action_condition": {"action": action}} for action in ("BLOCK", "COUNT")],
                    }
                ],
            },
        },
    )
    return association


def _rate_rule(limit: int) -> dict[str, Any]:
    return {
        "name": "rate",
        "priority": 0,
        "action": {"block": {"custom_response": {"response_code": 429}}},
        "statement": {
            "rate_based_statement": {"limit": limit, "aggregate_key_type": "IP", "evaluation_window_sec": WINDOW}
        },
        "visibility_config": _visible("rate"),
    }


def _managed(name: str, counted: Iterable[str], priority: int) -> dict[str, Any]:
    return {
        "name": name,
        "priority": priority,
        "override_action": {"none": {}},
        "statement": {
            "managed_rule_group_statement": {
                "vendor_name": "AWS",
                "name": name,
                "rule_action_overrides": [{"name": rule, "action_to_use": {"count": {}}} for rule in sorted(counted)],
            }
        },
        "visibility_config": _visible(name),
    }


def _visible(metric: str) -> dict[str, Any]:
    return {"metric_name": metric, "cloudwatch_metrics_enabled": True, "sampled_requests_enabled": True}
