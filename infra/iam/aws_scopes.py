"""The resources that IAM statements name: ARNs for IAM's resource types, and where a plan holds their names."""

from __future__ import annotations

from typing import Final, NamedTuple


class Named(NamedTuple):
    """Where names of a kind stand in a plan: a resource type and its property; a prefix has the property's name and
    ``Prefix``."""

    type: str
    property: str = "name"


NAMES: Final[dict[str, tuple[Named, ...]]] = {
    "alarm": (
        Named("aws:cloudwatch/metricAlarm:MetricAlarm"),
        Named("aws:cloudwatch/compositeAlarm:CompositeAlarm", "alarmName"),
    ),
    "alias": (Named("aws:kms/alias:Alias"),),
    "balancer": (Named("aws:lb/loadBalancer:LoadBalancer"),),
    "bucket": (Named("aws:s3/bucket:Bucket", "bucket"),),
    "budget": (Named("aws:budgets/budget:Budget"),),
    "cluster": (Named("aws:ecs/cluster:Cluster"),),
    "dashboard": (Named("aws:cloudwatch/dashboard:Dashboard", "dashboardName"),),
    "database": (Named("aws:rds/instance:Instance", "identifier"),),
    "database_parameters": (Named("aws:rds/parameterGroup:ParameterGroup"),),
    "database_subnets": (Named("aws:rds/subnetGroup:SubnetGroup"),),
    "family": (Named("aws:ecs/taskDefinition:TaskDefinition", "family"),),
    "log_group": (Named("aws:cloudwatch/logGroup:LogGroup"),),
    "redis": (Named("aws:elasticache/replicationGroup:ReplicationGroup", "replicationGroupId"),),
    "redis_parameters": (Named("aws:elasticache/parameterGroup:ParameterGroup"),),
    "redis_subnets": (Named("aws:elasticache/subnetGroup:SubnetGroup"),),
    "redis_user": (Named("aws:elasticache/user:User", "userId"),),
    "redis_users": (Named("aws:elasticache/userGroup:UserGroup", "userGroupId"),),
    "repository": (Named("aws:ecr/repository:Repository"),),
    "restore_test": (Named("aws:backup/restoreTestingPlan:RestoreTestingPlan"),),
    "role": (Named("aws:iam/role:Role"),),
    "rule": (Named("aws:cloudwatch/eventRule:EventRule"),),
    "schedule": (Named("aws:scheduler/schedule:Schedule"),),
    "secret": (Named("aws:secretsmanager/secret:Secret"),),
    "target_group": (Named("aws:lb/targetGroup:TargetGroup"),),
    "topic": (Named("aws:sns/topic:Topic"),),
    "vault": (Named("aws:backup/vault:Vault"),),
    "web_acl": (Named("aws:wafv2/webAcl:WebAcl"),),
    "zone": (Named("aws:route53/record:Record", "zoneId"),),
}

_EC2_KINDS: Final = (
    *("elastic-ip", "internet-gateway", "natgateway", "route-table", "security-group"),
    *("security-group-rule", "subnet", "vpc", "vpc-endpoint", "vpc-flow-log"),
)


def _regional(service: str, rest: str) -> str:
    return f"arn:{{partition}}:{service}:{{region}}:{{account}}:{rest}"


RESOURCES: Final[dict[str, str]] = {
    # AWS chooses these ids: what a statement changes is told by its tags, see `TAGGED`.
    **{f"ec2:{kind}": _regional("ec2", f"{kind}/*") for kind in _EC2_KINDS},
    "acm:certificate": _regional("acm", "certificate/*"),
    "application-autoscaling:ScalableTarget": _regional("application-autoscaling", "scalable-target/*"),
    "backup:backupPlan": _regional("backup", "backup-plan:*"),
    "backup:backupVault": _regional("backup", "backup-vault:{vault}"),
    "backup:recoveryPoint": _regional("rds", "snapshot:awsbackup:*"),
    "backup:restoreTestingPlan": _regional("backup", "restore-testing-plan:{restore_test}-*"),
    "budgets:budget": "arn:{partition}:budgets::{account}:budget/{budget}",
    "cloudwatch:alarm": _regional("cloudwatch", "alarm:{alarm}"),
    "cloudwatch:dashboard": "arn:{partition}:cloudwatch::{account}:dashboard/{dashboard}",
    "ecr:repository": _regional("ecr", "repository/{repository}"),
    "ecs:cluster": _regional("ecs", "cluster/{cluster}"),
    "ecs:service": _regional("ecs", "service/{cluster}/*"),
    "ecs:service-deployment": _regional("ecs", "service-deployment/{cluster}/*/*"),
    "ecs:service-revision": _regional("ecs", "service-revision/{cluster}/*/*"),
    "ecs:task-definition": _regional("ecs", "task-definition/{family}:*"),
    "elasticache:cluster": _regional("elasticache", "cluster:{redis}-*"),
    "elasticache:parametergroup": _regional("elasticache", "parametergroup:{redis_parameters}"),
    "elasticache:replicationgroup": _regional("elasticache", "replicationgroup:{redis}"),
    "elasticache:snapshot": _regional("elasticache", "snapshot:{redis}*"),
    "elasticache:subnetgroup": _regional("elasticache", "subnetgroup:{redis_subnets}"),
    "elasticache:user": _regional("elasticache", "user:{redis_user}"),
    "elasticache:usergroup": _regional("elasticache", "usergroup:{redis_users}"),
    "elasticloadbalancing:listener/app": _regional("elasticloadbalancing", "listener/app/{balancer}/*/*"),
    "elasticloadbalancing:loadbalancer/app/": _regional("elasticloadbalancing", "loadbalancer/app/{balancer}/*"),
    "elasticloadbalancing:targetgroup": _regional("elasticloadbalancing", "targetgroup/{target_group}/*"),
    "events:rule-on-default-event-bus": _regional("events", "rule/{rule}"),
    "iam:role": "arn:{partition}:iam::{account}:role/{role}",
    "kms:alias": _regional("kms", "{alias}"),
    "kms:key": _regional("kms", "key/*"),
    "logs:log-group": _regional("logs", "log-group:{log_group}*"),
    "rds:db": _regional("rds", "db:{database}"),
    "rds:og": _regional("rds", "og:default:*"),
    "rds:pg": _regional("rds", "pg:{database_parameters}"),
    "rds:snapshot": _regional("rds", "snapshot:{database}*"),
    "rds:subgrp": _regional("rds", "subgrp:{database_subnets}"),
    "route53:change": "arn:{partition}:route53:::change/*",
    "route53:hostedzone": "arn:{partition}:route53:::hostedzone/{zone}",
    "s3:bucket": "arn:{partition}:s3:::{bucket}",
    "s3:object": "arn:{partition}:s3:::{bucket}/*",
    "scheduler:schedule": _regional("scheduler", "schedule/*/{schedule}"),
    "secretsmanager:Secret": _regional("secretsmanager", "secret:{secret}*"),
    "sns:topic": _regional("sns", "{topic}"),
    "wafv2:loadbalancer/app/": _regional("elasticloadbalancing", "loadbalancer/app/{balancer}/*"),
    "wafv2:managedruleset": _regional("wafv2", "regional/managedruleset/*/*"),
    "wafv2:webacl": _regional("wafv2", "regional/webacl/{web_acl}/*"),
}
"""IAM resource type -> ARN, from the Service Authorization Reference, with the names that a plan fills in. A resource
type that is missing here is one that this project never uses."""

TAGGED: Final = ("acm", "ec2", "kms")
"""Services whose ARNs hold no names: what exists may be changed only where it carries the stack's tags."""

BORROWED: Final[dict[tuple[str, str], str]] = {
    ("aws:rds/instance:Instance", "secretsmanager:Secret"): _regional("secretsmanager", "secret:rds!db-*"),
}
"""Resources of another service that a type makes in the deployer's name: RDS's own secret of the master password."""

PASSED_TO: Final[dict[str, str]] = {
    "aws:backup/restoreTestingSelection:RestoreTestingSelection": "backup.amazonaws.com",
    "aws:backup/selection:Selection": "backup.amazonaws.com",
    "aws:ec2/flowLog:FlowLog": "vpc-flow-logs.amazonaws.com",
    "aws:ecs/taskDefinition:TaskDefinition": "ecs-tasks.amazonaws.com",
    "aws:rds/instance:Instance": "monitoring.rds.amazonaws.com",
    "aws:s3/bucketReplicationConfig:BucketReplicationConfig": "s3.amazonaws.com",
    "aws:scheduler/schedule:Schedule": "scheduler.amazonaws.com",
}
"""The service that gets a role with the type."""

LINKED: Final[dict[str, str]] = {
    "aws:appautoscaling/target:Target": "ecs.application-autoscaling.amazonaws.com",
    "aws:backup/restoreTestingPlan:RestoreTestingPlan": "restore-testing.backup.amazonaws.com",
    "aws:backup/selection:Selection": "backup.amazonaws.com",
    "aws:ecs/cluster:Cluster": "ecs.amazonaws.com",
    "aws:elasticache/replicationGroup:ReplicationGroup": "elasticache.amazonaws.com",
    "aws:lb/loadBalancer:LoadBalancer": "elasticloadbalancing.amazonaws.com",
    "aws:rds/instance:Instance": "rds.amazonaws.com",
    "aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration": "wafv2.amazonaws.com",
}
"""The service that makes itself a role in the account when the type is first used."""
LINKED_ROLES: Final = "arn:{partition}:iam::{account}:role/aws-service-role/*"

AREAS: Final[dict[str, tuple[str, ...]]] = {
    "network": ("ec2",),
    "balancer": ("acm", "elasticloadbalancing", "route53", "wafv2"),
    "services": ("application-autoscaling", "ecr", "ecs"),
    "data": ("elasticache", "kms", "rds", "secretsmanager"),
    "backup": ("backup", "backup-storage", "s3", "scheduler"),
    "monitoring": ("budgets", "cloudwatch", "events", "logs", "sns"),
    "roles": ("iam",),
}
"""How the deploy permissions are cut up: a managed policy holds 6144 characters, and a role ten policies."""
PARTS: Final[dict[str, tuple[str, ...]]] = {
    "services": tuple(service for area in ("network", "balancer", "services", "roles") for service in AREAS[area]),
    "data": tuple(service for area in ("data", "backup", "monitoring") for service in AREAS[area]),
}
"""The same for previews."""
LONGEST_POLICY: Final = 6144
