"""What replaces a resource in the emulation: the tables against what the real provider does."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest
from emulator.cloud import Cloud
from emulator.kinds import FACTS, KINDS
from emulator.provider import AwsProvider

from infra.engine.providers.base import ProviderRequest

TYPES = sorted(FACTS["types"])

UNKNOWN = {
    # Prefixes: the facts are about names.
    **{
        f"aws:{type_}": {"namePrefix"}
        for type_ in (
            *("budgets/budget:Budget", "cloudwatch/eventRule:EventRule", "cloudwatch/logGroup:LogGroup"),
            *("ec2/securityGroup:SecurityGroup", "iam/role:Role", "iam/rolePolicy:RolePolicy"),
            *("lb/loadBalancer:LoadBalancer", "lb/targetGroup:TargetGroup", "rds/parameterGroup:ParameterGroup"),
            *("rds/subnetGroup:SubnetGroup", "scheduler/schedule:Schedule"),
        )
    },
    "aws:backup/restoreTestingPlan:RestoreTestingPlan": {"name"},
    "aws:ec2/eip:Eip": {"domain"},
    "aws:ec2/flowLog:FlowLog": {"maxAggregationInterval"},
    "aws:ec2/natGateway:NatGateway": {"availabilityMode", "connectivityType", "vpcId"},
    "aws:ec2/route:Route": {"destinationIpv6CidrBlock"},
    "aws:ec2/routeTableAssociation:RouteTableAssociation": {"gatewayId"},
    "aws:ec2/subnet:Subnet": {"ipv6CidrBlock"},
    "aws:ec2/vpcEndpoint:VpcEndpoint": {"vpcEndpointType"},
    "aws:ecs/taskDefinition:TaskDefinition": {"placementConstraints", "proxyConfiguration"},
    "aws:elasticache/replicationGroup:ReplicationGroup": {"atRestEncryptionEnabled", "globalReplicationGroupId"},
    "aws:rds/instance:Instance": {"customIamInstanceProfile", "restoreToPointInTime"},
    "aws:route53/record:Record": {"type"},
    "aws:s3/bucket:Bucket": {"bucket"},
    "aws:secretsmanager/secret:Secret": {"name"},
    "aws:secretsmanager/secretVersion:SecretVersion": {"secretBinary"},
    "aws:sns/topic:Topic": {"fifoTopic", "namePrefix"},
    "aws:sns/topicSubscription:TopicSubscription": {"protocol"},
    "aws:wafv2/webAcl:WebAcl": {"namePrefix", "scope"},
}
"""What the tables say and the facts do not mention, from general knowledge of the provider."""


def test_the_facts_name_their_source() -> None:
    assert (FACTS["source"], FACTS["release"]) == ("hashicorp/terraform-provider-aws", "5.100")
    assert len(TYPES) == 68
    assert not set(TYPES) - set(KINDS)


@pytest.mark.parametrize("type_", TYPES)
def test_the_table_follows_the_provider(type_: str) -> None:
    kind, facts = KINDS[type_], FACTS["types"][type_]
    replacing, in_place = set(facts["replaces"]), set(facts["in_place"])
    told = kind.replaces | set(kind.replaces_when)
    assert {name for name in replacing if kind.covers(name)} <= told
    assert not told & in_place
    assert told - replacing == UNKNOWN.get(type_, set())


@pytest.mark.parametrize("type_", TYPES)
def test_the_facts_are_about_properties_that_exist(type_: str) -> None:
    module, name = type_.split(":")[1].split("/")[0], type_.rsplit(":", 1)[1]
    resource = getattr(importlib.import_module(f"pulumi_aws.{module}"), name)
    known = {camel(each) for each in inspect.signature(resource._internal_init).parameters}
    facts = FACTS["types"][type_]
    assert not {*facts["replaces"], *facts["in_place"]} - known


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


SERVICE = "aws:ecs/service:Service"
GROUP = "aws:elasticache/replicationGroup:ReplicationGroup"
SPOT, FARGATE = ([{"capacityProvider": name, "weight": 1}] for name in ("FARGATE_SPOT", "FARGATE"))


@pytest.mark.parametrize(
    ("type_", "old", "new", "replaces"),
    [
        (SERVICE, {"capacityProviderStrategies": SPOT}, {"capacityProviderStrategies": FARGATE}, True),
        (
            SERVICE,
            {"capacityProviderStrategies": SPOT, "forceNewDeployment": True},
            {"capacityProviderStrategies": FARGATE, "forceNewDeployment": True},
            False,
        ),
        (SERVICE, {"forceNewDeployment": True}, {"capacityProviderStrategies": SPOT, "forceNewDeployment": True}, True),
        (GROUP, {"engineVersion": "8.2"}, {"engineVersion": "8.1"}, True),
        (GROUP, {"engineVersion": "8.2"}, {"engineVersion": "8.10"}, False),
        (GROUP, {"engine": "valkey"}, {"engine": "redis"}, True),
        (GROUP, {"engine": "redis"}, {"engine": "valkey"}, False),
    ],
)
def test_conditions(account: Cloud, type_: str, old: dict[str, Any], new: dict[str, Any], replaces: bool) -> None:
    provider = AwsProvider(account, {})
    urn = f"urn:pulumi:s::p::{type_}::n"
    request = ProviderRequest(urn=urn, type=type_, name="n", id="n", inputs=new, old_inputs=old, old_outputs=old)
    assert bool(provider.diff(request).replaces) is replaces


def test_an_instance_is_renamed_in_place(account: Cloud) -> None:
    provider = AwsProvider(account, {})
    type_ = "aws:rds/instance:Instance"
    base = {
        **{"identifier": "before", "engine": "postgres", "instanceClass": "db.t4g.micro", "allocatedStorage": 20},
        **{"username": "master", "password": "long-enough-1", "skipFinalSnapshot": True},
    }
    where = {"urn": f"urn:pulumi:s::p::{type_}::n", "type": type_, "name": "n"}
    old = provider.check(ProviderRequest(**where, inputs=base)).inputs
    made = provider.create(ProviderRequest(**where, inputs=old))
    new = {**old, "identifier": "after"}
    request = ProviderRequest(**where, id=made.id, inputs=new, old_inputs=old, old_outputs=made.outputs)
    assert not provider.diff(request).replaces
    outputs = provider.update(request)
    assert outputs["identifier"] == "after"
    assert outputs["resourceId"] == made.outputs["resourceId"]
    provider.delete(ProviderRequest(**where, id=made.id, inputs={}, old_inputs=new, old_outputs=outputs))
    assert account.client("rds").describe_db_instances()["DBInstances"] == []
