"""What runs in the pretended account, asked of its APIs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from emulator.cloud import Cloud


@dataclass(frozen=True)
class Service:
    name: str
    definition: str
    images: frozenset[str]
    desired: int
    running: int
    rollout: str
    secrets: Mapping[str, str]
    """Of the task's own container, resolved."""
    environment: Mapping[str, str]

    def url(self, variable: str) -> SplitResult:
        return urlsplit(self.secrets[variable])


def services(cloud: Cloud) -> dict[str, Service]:
    """By the name in the stack file."""
    ecs = cloud.client("ecs")
    found = {}
    for cluster in ecs.list_clusters()["clusterArns"]:
        for arn in ecs.list_services(cluster=cluster)["serviceArns"]:
            told = ecs.describe_services(cluster=cluster, services=[arn])["services"][0]
            if told["status"] == "INACTIVE":  # deleted: ECS still shows it for a while
                continue
            service = _service(cloud, told)
            found[service.name] = service
    return found


def _service(cloud: Cloud, told: Mapping[str, Any]) -> Service:
    ecs = cloud.client("ecs")
    definition = ecs.describe_task_definition(taskDefinition=told["taskDefinition"])["taskDefinition"]
    containers = definition["containerDefinitions"]
    own = containers[0]
    return Service(
        name=own["name"],
        definition=told["taskDefinition"],
        images=frozenset(container["image"] for container in containers),
        desired=told["desiredCount"],
        running=told["runningCount"],
        rollout=told["deployments"][0]["rolloutState"],
        secrets=cloud.fargate.resolved(told["taskDefinition"])[own["name"]],
        environment={item["name"]: item["value"] for item in own.get("environment", [])},
    )


def paths(cloud: Cloud) -> set[tuple[str, str, str, str]]:
    """Every rule of the stack's VPC: group, ``in`` or ``out``, peer, ports. Groups go by their `Name` tags' ends."""
    ec2 = cloud.client("ec2")
    default = {vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"] if vpc["IsDefault"]}
    groups = {
        group["GroupId"]: _role(group)
        for group in ec2.describe_security_groups()["SecurityGroups"]
        if group["VpcId"] not in default
    }
    found = set()
    for rule in ec2.describe_security_group_rules()["SecurityGroupRules"]:
        if rule["GroupId"] not in groups:
            continue
        peer = rule.get("CidrIpv4") or rule.get("CidrIpv6") or groups[rule["ReferencedGroupInfo"]["GroupId"]]
        first, last = rule["FromPort"], rule["ToPort"]
        ports = f"{rule['IpProtocol']}:{first}" if first == last else f"{rule['IpProtocol']}:{first}-{last}"
        found.add((groups[rule["GroupId"]], "out" if rule["IsEgress"] else "in", peer, ports))
    return found


def _role(group: Mapping[str, Any]) -> str:
    tags = {tag["Key"]: tag["Value"] for tag in group.get("Tags", [])}
    return tags["Name"].rsplit("-", 1)[-1] if "Name" in tags else str(group["GroupName"])


def signing_keys(service: Service) -> tuple[str, list[str]]:
    """The key that signs, and all that are known."""
    ring = json.loads(service.secrets["JWT_KEYS"])
    return ring["active"], sorted(ring["keys"])


def scaling(cloud: Cloud) -> dict[str, tuple[int, int]]:
    """Least and most tasks by service name (the one in ECS, without its random end)."""
    targets = cloud.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="ecs")
    return {
        item["ResourceId"].rsplit("/", 1)[-1].split("-service-")[0]: (item["MinCapacity"], item["MaxCapacity"])
        for item in targets["ScalableTargets"]
    }


def one_off_runs(cloud: Cloud) -> list[str]:
    """Families of the tasks that were run to their end, in order."""
    return [
        task["group"].removeprefix("family:") for task in cloud.fargate.tasks.values() if "family:" in task["group"]
    ]


def redis_passwords(cloud: Cloud) -> dict[str, list[str]]:
    """Passwords of the Redis users by user name, as they were last set."""
    users = {}
    for call in cloud.calls:
        if call.operation in ("CreateUser", "ModifyUser") and call.service == "elasticache":
            params = call.params
            known = users.setdefault(params["UserId"], {"name": params.get("UserName"), "passwords": []})
            mode = params.get("AuthenticationMode") or {}
            known["passwords"] = mode.get("Passwords") or params.get("Passwords") or known["passwords"]
    return {str(user["name"]): list(user["passwords"]) for user in users.values()}


def left_over(cloud: Cloud) -> dict[str, list[str]]:
    """What a destroyed stack has left behind and costs money or holds data."""
    ec2, logs = cloud.client("ec2"), cloud.client("logs")
    found = {
        "vpcs": [vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]],
        "nat": [n["NatGatewayId"] for n in ec2.describe_nat_gateways()["NatGateways"] if n["State"] != "deleted"],
        "addresses": [item["AllocationId"] for item in ec2.describe_addresses()["Addresses"]],
        "databases": [
            item["DBInstanceIdentifier"] for item in cloud.client("rds").describe_db_instances()["DBInstances"]
        ],
        "redis": [
            item["ReplicationGroupId"]
            for item in cloud.client("elasticache").describe_replication_groups()["ReplicationGroups"]
            if item["Status"] != "deleting"
        ],
        "services": list(services(cloud)),
        "balancers": [
            item["LoadBalancerName"] for item in cloud.client("elbv2").describe_load_balancers()["LoadBalancers"]
        ],
        "secrets": [
            item["Name"]
            for item in cloud.client("secretsmanager").list_secrets()["SecretList"]
            if not item["Name"].startswith("rds!")
        ],
        "roles": [item["RoleName"] for item in cloud.client("iam").list_roles()["Roles"]],
        "buckets": [item["Name"] for item in cloud.client("s3").list_buckets()["Buckets"]],
        "logs": [item["logGroupName"] for item in logs.describe_log_groups()["logGroups"]],
        "stand-ins": [f"{kind} {name}" for kind, name in cloud.store if kind not in _NOTES],
    }
    return {kind: names for kind, names in found.items() if names}


_NOTES = ("log group key", "cache user")
