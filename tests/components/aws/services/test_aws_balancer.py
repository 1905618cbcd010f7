"""The way in: TLS, redirects, header hygiene, logs, firewall."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from infra.engine.plan import Plan

Services = Callable[..., Plan]
Inputs = Callable[..., Any]
CERTIFICATE = "arn:aws:acm:eu-central-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"


def names(graph: Plan) -> set[str]:
    return {r.name for r in graph.resources}


def test_tls_and_nothing_else(services: Services, inputs: Inputs) -> None:
    graph = services()
    https, http = inputs(graph, "balancer-https"), inputs(graph, "balancer-http")
    assert (https["port"], https["protocol"]) == (443, "HTTPS")
    assert https["sslPolicy"] == "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"
    assert https["defaultActions"][0]["type"] == "forward"
    assert https["routingHttpResponseStrictTransportSecurityHeaderValue"].startswith("max-age=")
    (action,) = http["defaultActions"]
    assert action["type"] == "redirect"
    assert action["redirect"] == {"port": "443", "protocol": "HTTPS", "statusCode": "HTTP_301"}
    assert graph.outputs["url"] == "https://api.example.com"


def test_the_listener_waits_for_the_certificate(services: Services, inputs: Inputs) -> None:
    graph = services()
    record = inputs(graph, "balancer-validation-record")
    assert (record["type"], record["name"]) == ("CNAME", "_1234.api.example.com.")
    assert inputs(graph, "balancer-certificate")["domainName"] == "api.example.com"
    listener = next(r for r in graph.resources if r.name == "balancer-https")
    validation = next(r for r in graph.resources if r.name == "balancer-validation")
    assert validation.urn in listener.dependencies


def test_the_name_points_to_the_balancer(services: Services, inputs: Inputs) -> None:
    record = inputs(services(), "balancer-record")
    assert (record["zoneId"], record["name"], record["type"]) == ("Z0123456789", "api.example.com", "A")
    assert record["aliases"][0]["evaluateTargetHealth"] is True


def test_without_a_zone_the_records_are_told(services: Services) -> None:
    graph = services(domain={"name": "api.example.com"})
    assert not {"balancer-record", "balancer-validation-record"} & names(graph)
    assert "balancer-validation" in names(graph)
    assert any("_5678.acm-validations.aws." in text for _, text in graph.messages)


def test_a_certificate_that_exists_is_used(services: Services, inputs: Inputs) -> None:
    graph = services(domain={"name": "api.example.com", "certificate_arn": CERTIFICATE})
    assert inputs(graph, "balancer-https")["certificateArn"] == CERTIFICATE
    assert not {"balancer-certificate", "balancer-validation"} & names(graph)


def test_plain_http_is_a_choice(services: Services, inputs: Inputs) -> None:
    graph = services(domain={"plain_http": True})
    assert inputs(graph, "balancer-http")["defaultActions"][0]["type"] == "forward"
    assert not {"balancer-https", "balancer-certificate", "balancer-record"} & names(graph)
    assert str(graph.outputs["url"]).startswith("http://")


def test_header_hygiene_and_timeouts(services: Services, inputs: Inputs) -> None:
    balancer = inputs(services(), "balancer-alb")
    assert balancer["dropInvalidHeaderFields"] is True
    assert balancer["desyncMitigationMode"] == "defensive"
    assert balancer["idleTimeout"] == 60
    assert balancer["internal"] is False
    assert balancer["subnets"] == ["subnet-p1", "subnet-p2"]
    assert balancer["securityGroups"] == ["sg-balancer"]


@pytest.mark.parametrize("protect", [True, False])
def test_protection(services: Services, inputs: Inputs, protect: bool) -> None:
    graph = services(protect=protect)
    assert inputs(graph, "balancer-alb")["enableDeletionProtection"] is protect
    assert inputs(graph, "balancer-logs", "Bucket")["forceDestroy"] is not protect


def test_the_target_is_asked_whether_it_can_serve(services: Services, inputs: Inputs) -> None:
    target = inputs(services(api={"request_timeout": "20s", "health": {"interval": "20s"}}), "balancer-target")
    assert (target["targetType"], target["port"], target["vpcId"]) == ("ip", 3000, "vpc-1")
    assert target["deregistrationDelay"] == 20
    health = target["healthCheck"]
    assert (health["path"], health["matcher"], health["interval"]) == ("/health", "200", 20)
    live = inputs(services(features={"health_check": False}), "balancer-target")
    assert live["healthCheck"]["path"] == "/health/live"


def test_requests_are_written_down(services: Services, inputs: Inputs) -> None:
    graph = services(log={"retention_days": 14})
    logs = inputs(graph, "balancer-alb")["accessLogs"]
    assert (logs["enabled"], logs["prefix"]) == (True, "alb")
    (rule,) = inputs(graph, "balancer-logs-lifecycle")["rules"]
    assert rule["expiration"] == {"days": 14}
    closed = inputs(graph, "balancer-logs-closed")
    assert all(closed[key] for key in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls"))
    balancer = next(r for r in graph.resources if r.name == "balancer-alb")
    policy = next(r for r in graph.resources if r.name == "balancer-logs-policy")
    assert policy.urn in balancer.dependencies, "the balancer refuses a bucket that it cannot write to"


def test_only_the_balancer_writes_and_only_over_tls(services: Services, inputs: Inputs) -> None:
    policy = json.loads(inputs(services(), "balancer-logs-policy")["policy"])
    writing, tls = policy["Statement"]
    assert writing["Principal"] == {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"}
    assert (writing["Effect"], writing["Action"]) == ("Allow", ["s3:PutObject"])
    assert writing["Resource"][0].endswith("/alb/AWSLogs/123456789012/*")
    assert (tls["Effect"], tls["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_the_firewall(services: Services, inputs: Inputs) -> None:
    graph = services(network={"waf_rate_limit": 500})
    rules = {rule["name"]: rule for rule in inputs(graph, "balancer-waf")["rules"]}
    rate = rules.pop("rate")
    assert rate["statement"]["rateBasedStatement"] == {
        "limit": 500,
        "aggregateKeyType": "IP",
        "evaluationWindowSec": 300,
    }
    assert "block" in rate["action"]
    assert set(rules) == {
        "AWSManagedRulesAmazonIpReputationList",
        "AWSManagedRulesCommonRuleSet",
        "AWSManagedRulesKnownBadInputsRuleSet",
        "AWSManagedRulesSQLiRuleSet",
    }
    assert all(rule["overrideAction"] == {"none": {}} for rule in rules.values())
    # A webhook's payload may hold anything; what attacks the API itself comes in its address and headers.
    overrides = [
        override
        for rule in rules.values()
        for override in rule["statement"]["managedRuleGroupStatement"]["ruleActionOverrides"]
    ]
    assert all(override["actionToUse"] == {"count": {}} for override in overrides)
    assert {override["name"] for override in overrides} == {
        "CrossSiteScripting_BODY",
        "GenericLFI_BODY",
        "GenericRFI_BODY",
        "SQLi_BODY",
        "SizeRestrictions_BODY",
    }
    priorities = [rule["priority"] for rule in (rate, *rules.values())]
    assert len(set(priorities)) == len(priorities)


def test_the_firewalls_log_hides_credentials(services: Services, inputs: Inputs) -> None:
    graph = services()
    assert inputs(graph, "balancer-waf-log")["name"].startswith("aws-waf-logs-")
    logging = inputs(graph, "balancer-waf-logging")
    assert [field["singleHeader"]["name"] for field in logging["redactedFields"]] == ["authorization", "cookie"]


def test_without_the_firewall(services: Services) -> None:
    assert not {name for name in names(services(network={"waf": False})) if "waf" in name}
