"""The emulation is as strict as the service models: wrong arguments are refused, in each service, for each reason."""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import pytest
from emulator.cloud import Cloud
from emulator.kinds import KINDS
from emulator.mapping import MappingError, Step
from emulator.model import ModelError, compiled, operation, service
from emulator.provider import AwsProvider
from emulator.standins import TABLE

from infra.engine.errors import EngineError
from infra.engine.providers.base import ProviderRequest

SERVICES = sorted({kind.service for kind in KINDS.values()})

ARN = "arn:aws:iam::123456789012:role/some"
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    # service: type, inputs, what the message must say
    "ec2": ("aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.0/16", "instanceTenancy": "shared"}, "none of default, dedicated"),
    "rds": (
        "aws:rds/instance:Instance",
        {"identifier": "db", "engine": "postgres", "instanceClass": "db.t4g.small", "databaseInsightsMode": "best"},
        "none of standard, advanced",
    ),
    "elasticache": (
        "aws:elasticache/user:User",
        {"userId": "9 starts", "userName": "u", "engine": "valkey", "accessString": "on"},
        "does not match",
    ),
    "backup": (
        "aws:backup/vault:Vault",
        {"name": "a vault with blanks"},
        "does not match",
    ),
    "ecs": (
        "aws:ecs/taskDefinition:TaskDefinition",
        {"family": "f", "containerDefinitions": '[{"name": "c", "image": "i", "essental": true}]'},
        "essental",
    ),
    "ecr": (
        "aws:ecr/repository:Repository",
        {"name": "Upper", "imageTagMutability": "IMMUTABLE"},
        "does not match",
    ),
    "elbv2": (
        "aws:lb/targetGroup:TargetGroup",
        {"name": "t", "port": 70000, "protocol": "HTTP", "targetType": "ip"},
        "above the maximum 65535",
    ),
    "acm": (
        "aws:acm/certificate:Certificate",
        {"domainName": "api.example.com", "validationMethod": "POST"},
        "none of EMAIL, DNS",
    ),
    "route53": (
        "aws:route53/record:Record",
        {"zoneId": "Z1", "name": "a.example.com", "type": "ANAME", "ttl": 60, "records": ["x"]},
        "none of",
    ),
    "wafv2": (
        "aws:wafv2/webAcl:WebAcl",
        {
            "name": "acl",
            "scope": "REGIONAL",
            "defaultAction": {"allow": {}},
            "visibilityConfig": {"cloudwatchMetricsEnabled": True, "metricName": "m", "sampledRequestsEnabled": True},
            "rules": [
                {
                    "name": "rate",
                    "priority": 1,
                    "action": {"block": {}},
                    "statement": {"rateBasedStatement": {"limit": 1, "aggregateKeyType": "IP"}},
                    "visibilityConfig": {
                        "cloudwatchMetricsEnabled": True,
                        "metricName": "m",
                        "sampledRequestsEnabled": True,
                    },
                }
            ],
        },
        "minimum 10",
    ),
    "application-autoscaling": (
        "aws:appautoscaling/target:Target",
        {"serviceNamespace": "ecs", "resourceId": "service/a/b", "scalableDimension": "ecs:DesiredCount"},
        "none of",
    ),
    "iam": (
        "aws:iam/role:Role",
        {"name": "r" * 65, "assumeRolePolicy": "{}"},
        "above the maximum 64",
    ),
    "kms": ("aws:kms/key:Key", {"keyUsage": "EVERYTHING"}, "none of"),
    "secretsmanager": (
        "aws:secretsmanager/secretVersion:SecretVersion",
        {"secretId": "s", "secretString": "x" * 65_537},
        "above the maximum 65536",
    ),
    "s3": (
        "aws:s3/bucketVersioning:BucketVersioning",
        {"bucket": "b", "versioningConfiguration": {"status": "On"}},
        "none of Enabled, Suspended",
    ),
    "logs": ("aws:cloudwatch/logGroup:LogGroup", {"name": "with blanks in it"}, "does not match"),
    "cloudwatch": (
        "aws:cloudwatch/metricAlarm:MetricAlarm",
        {"name": "a", "comparisonOperator": "MoreThan", "evaluationPeriods": 1},
        "none of",
    ),
    "sns": (
        "aws:sns/topicSubscription:TopicSubscription",
        {"topic": 7, "protocol": "email", "endpoint": "ops@example.com"},
        "Invalid type for parameter TopicArn",
    ),
    "events": ("aws:cloudwatch/eventRule:EventRule", {"name": "r", "state": "ON"}, "none of"),
    "scheduler": (
        "aws:scheduler/schedule:Schedule",
        {
            "name": "s",
            "scheduleExpression": "cron(0 3 * * ? *)",
            "flexibleTimeWindow": {"mode": "NEVER"},
            "target": {"arn": ARN, "roleArn": ARN},
        },
        "none of OFF, FLEXIBLE",
    ),
    "budgets": (
        "aws:budgets/budget:Budget",
        {"name": "b", "budgetType": "SUM", "timeUnit": "MONTHLY", "limitAmount": "5", "limitUnit": "USD"},
        "none of",
    ),
}


def create(account: Cloud, type_: str, inputs: Mapping[str, Any]) -> None:
    provider = AwsProvider(account, {})
    request = ProviderRequest(
        urn=f"urn:pulumi:s::p::{type_}::n", type=type_, name="n", inputs=copy.deepcopy(dict(inputs))
    )
    checked = provider.check(request)
    if checked.failures:
        raise EngineError("; ".join(failure.reason for failure in checked.failures))
    provider.create(ProviderRequest(urn=request.urn, type=type_, name="n", inputs=checked.inputs))


@pytest.mark.parametrize("name", SERVICES)
def test_wrong_arguments_are_refused_in_each_service(account: Cloud, name: str) -> None:
    type_, inputs, said = WRONG[name]
    assert KINDS[type_].service == name
    with pytest.raises((EngineError, ModelError), match=said):
        create(account, type_, inputs)


@pytest.mark.parametrize("type_", sorted(KINDS))
def test_a_property_without_a_place_is_refused(account: Cloud, type_: str) -> None:
    with pytest.raises(EngineError, match="has no place in the emulation"):
        create(account, type_, {"surelyNoSuchProperty": 1})


@pytest.mark.parametrize(
    ("type_", "inputs", "said"),
    [
        (
            "aws:ecs/service:Service",
            {"name": "s", "networkConfiguration": {"subnets": [], "publicIp": True}},
            "publicIp",
        ),
        (
            "aws:ecs/service:Service",
            {"name": "s", "deploymentCircuitBreaker": {"enabled": True}},
            "deploymentCircuitBreaker.enabled is no member",
        ),
        (
            "aws:cloudwatch/metricAlarm:MetricAlarm",
            {"name": "a", "metricQueries": [{"id": "m", "metric": {"metric": "x"}}]},
            "Missing required parameter in Metrics",
        ),
        (
            "aws:lb/targetGroup:TargetGroup",
            {"name": "t", "healthCheck": {"intervall": 10}},
            "healthCheck.intervall has no place",
        ),
        (
            "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
            {"bucket": "b", "rules": [{"id": "r", "status": "Enabled", "expire": {"days": 1}}]},
            "rules.expire has no place",
        ),
    ],
)
def test_a_wrong_word_inside_a_block_is_refused(account: Cloud, type_: str, inputs: dict[str, Any], said: str) -> None:
    with pytest.raises((EngineError, ModelError, MappingError, ValueError), match=said):
        create(account, type_, inputs)


def test_every_client_is_checked(account: Cloud) -> None:
    """Not the provider's calls alone: the stack's own control resources open clients too."""
    import boto3

    with pytest.raises(ModelError, match="none of"):
        boto3.client("ecs", region_name="eu-central-1").run_task(taskDefinition="t", launchType="MOON")


@pytest.mark.parametrize("name", SERVICES)
def test_the_patterns_of_the_models_are_all_understood(name: str) -> None:
    model = service(name)
    for shape in map(model.shape_for, model.shape_names):
        if pattern := shape.metadata.get("pattern"):
            compiled(pattern)


@pytest.mark.parametrize("type_", sorted(KINDS))
def test_the_tables_name_operations_and_members_that_exist(type_: str) -> None:
    kind = KINDS[type_]
    deletes = kind.delete if isinstance(kind.delete, tuple) else ()
    for step in (*kind.all_steps(), *filter(None, [kind.read]), *deletes):
        shape = operation(kind.service, step.operation).input_shape
        top = [path.split(".")[0] for name, path in step.names.items() if path and "." not in name]
        for member in [*top, *(path.split(".")[0] for path in step.fixed)]:
            assert member in shape.members, f"{type_}: {step.operation} has no {member}"


@pytest.mark.parametrize(("name", "call"), sorted(TABLE))
def test_a_stand_in_stands_for_an_operation_that_exists(name: str, call: str) -> None:
    assert call in service(name).operation_names
    assert TABLE[(name, call)].what


def test_a_stand_ins_answer_is_held_to_the_model(account: Cloud) -> None:
    from emulator.model import check_response

    with pytest.raises(ModelError, match="Nothing"):
        check_response("elasticache", "DescribeUserGroups", {"Nothing": 1})


def test_a_step_that_takes_nothing_is_a_mistake_in_the_tables() -> None:
    for type_, kind in KINDS.items():
        for step in kind.steps:
            assert step.always or step.only != frozenset(), f"{type_}: {step.operation}"
            assert isinstance(step, Step)


def test_a_balancer_inside_the_network_is_not_made_a_public_one(account: Cloud) -> None:
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    zones = {"eu-central-1a": "10.9.0.0/24", "eu-central-1b": "10.9.1.0/24"}
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for zone, block in zones.items()
    ]
    create(account, "aws:lb/loadBalancer:LoadBalancer", {"name": "l", "internal": True, "subnets": subnets})
    assert account.client("elbv2").describe_load_balancers()["LoadBalancers"][0]["Scheme"] == "internal"


@pytest.mark.parametrize("service_name", ["ec2", "s3", "iam", "kms", "ecs", "backup", "secretsmanager"])
def test_tags_change_in_place(account: Cloud, service_name: str) -> None:
    type_, inputs, read = TAGGED[service_name]
    provider = AwsProvider(account, {"stack": "s"})
    urn = f"urn:pulumi:s::p::{type_}::n"
    old = provider.check(
        ProviderRequest(urn=urn, type=type_, name="n", inputs={**inputs, "tags": {"a": "1", "gone": "x"}})
    ).inputs
    made = provider.create(ProviderRequest(urn=urn, type=type_, name="n", inputs=old))
    new = provider.check(ProviderRequest(urn=urn, type=type_, name="n", inputs={**old, "tags": {"a": "2"}})).inputs
    request = ProviderRequest(
        urn=urn, type=type_, name="n", id=made.id, inputs=new, old_inputs=old, old_outputs=made.outputs
    )
    assert not provider.diff(request).replaces
    provider.update(request)
    assert read(account, made) == {"a": "2", "stack": "s"}


def pairs(tags: list[dict[str, str]]) -> dict[str, str]:
    """Key to value, however the service spells the two."""
    return dict(tuple(tag.values()) for tag in tags)


TAGGED: dict[str, tuple[str, dict[str, Any], Any]] = {
    "ec2": (
        "aws:ec2/vpc:Vpc",
        {"cidrBlock": "10.8.0.0/16"},
        lambda account, made: pairs(account.client("ec2").describe_vpcs(VpcIds=[made.id])["Vpcs"][0]["Tags"]),
    ),
    "s3": (
        "aws:s3/bucket:Bucket",
        {"bucket": "tagged"},
        lambda account, made: pairs(account.client("s3").get_bucket_tagging(Bucket=made.id)["TagSet"]),
    ),
    "iam": (
        "aws:iam/role:Role",
        {"name": "tagged", "assumeRolePolicy": '{"Version": "2012-10-17", "Statement": []}'},
        lambda account, made: pairs(account.client("iam").list_role_tags(RoleName=made.id)["Tags"]),
    ),
    "kms": (
        "aws:kms/key:Key",
        {"description": "tagged"},
        lambda account, made: pairs(account.client("kms").list_resource_tags(KeyId=made.id)["Tags"]),
    ),
    "ecs": (
        "aws:ecs/cluster:Cluster",
        {"name": "tagged"},
        lambda account, made: pairs(account.client("ecs").list_tags_for_resource(resourceArn=made.id)["tags"]),
    ),
    "backup": (
        "aws:backup/vault:Vault",
        {"name": "tagged"},
        lambda account, made: account.client("backup").list_tags(ResourceArn=made.outputs["arn"])["Tags"],
    ),
    "secretsmanager": (
        "aws:secretsmanager/secret:Secret",
        {"name": "tagged"},
        lambda account, made: pairs(account.client("secretsmanager").describe_secret(SecretId=made.id)["Tags"]),
    ),
}


@pytest.mark.parametrize("type_", sorted(KINDS))
def test_what_the_provider_tags_is_tagged_here(type_: str) -> None:
    """Tags that were dropped in silence would hide a stack whose resources cannot be found by them."""
    module, name = type_.split(":")[1].split("/")[0], type_.rsplit(":", 1)[1]
    resource = getattr(importlib.import_module(f"pulumi_aws.{module}"), name)
    takes = "tags" in inspect.signature(resource._internal_init).parameters
    assert KINDS[type_].taggable() == takes
