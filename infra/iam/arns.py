"""Which resources of a stack the IAM statements name: IAM's resource types, and where a plan holds their names."""

from __future__ import annotations

from typing import Final, NamedTuple


class PlanName(NamedTuple):
    """Where a plan holds names of a kind: the property of a resource type, or the same with ``Prefix``."""

    type: str
    property: str = "name"


NAMES: Final[dict[str, tuple[PlanName, ...]]] = {
    "alarm": (
        PlanName("aws:cloudwatch/metricAlarm:MetricAlarm"),
        PlanName("aws:cloudwatch/compositeAlarm:CompositeAlarm", "alarmName"),
    ),
    "alias": (PlanName("aws:kms/alias:Alias"),),
    "balancer": (PlanName("aws:lb/loadBalancer:LoadBalancer"),),
    "bucket": (PlanName("aws:s3/bucket:Bucket", "bucket"),),
    "budget": (PlanName("aws:budgets/budget:Budget"),),
    "cluster": (PlanName("aws:ecs/cluster:Cluster"),),
    "dashboard": (PlanName("aws:cloudwatch/dashboard:Dashboard", "dashboardName"),),
    "database": (PlanName("aws:rds/instance:Instance", "identifier"),),
    "database_parameters": (PlanName("aws:rds/parameterGroup:ParameterGroup"),),
    "database_subnets": (PlanName("aws:rds/subnetGroup:SubnetGroup"),),
    "family": (PlanName("aws:ecs/taskDefinition:TaskDefinition", "family"),),
    "log_group": (PlanName("aws:cloudwatch/logGroup:LogGroup"),),
    "redis": (PlanName("aws:elasticache/replicationGroup:ReplicationGroup", "replicationGroupId"),),
    "redis_parameters": (PlanName("aws:elasticache/parameterGroup:ParameterGroup"),),
    "redis_subnets": (PlanName("aws:elasticache/subnetGroup:SubnetGroup"),),
    "redis_user": (PlanName("aws:elasticache/user:User", "userId"),),
    "redis_users": (PlanName("aws:elasticache/userGroup:UserGroup", "userGroupId"),),
    "repository": (PlanName("aws:ecr/repository:Repository"),),
    "restore_test": (PlanName("aws:backup/restoreTestingPlan:RestoreTestingPlan"),),
    "role": (PlanName("aws:iam/role:Role"),),
    "rule": (PlanName("aws:cloudwatch/eventRule:EventRule"),),
    "schedule": (PlanName("aws:scheduler/schedule:Schedule"),),
    "secret": (PlanName("aws:secretsmanager/secret:Secret"),),
    "target_group": (PlanName("aws:lb/targetGroup:TargetGroup"),),
    "topic": (PlanName("aws:sns/topic:Topic"),),
    "vault": (PlanName("aws:backup/vault:Vault"),),
    "web_acl": (PlanName("aws:wafv2/webAcl:WebAcl"),),
    "zone": (PlanName("aws:route53/record:Record", "zoneId"),),
}
"""The placeholders of the tables below, and of the permissions of the program's own steps."""

_EC2_KINDS: Final = (
    *("elastic-ip", "internet-gateway", "natgateway", "route-table", "security-group"),
    *("security-group-rule", "subnet", "vpc", "vpc-endpoint", "vpc-flow-log"),
)
ARN_VARIABLES: Final[dict[str, dict[str, str]]] = {
    **{f"ec2:{kind}": {} for kind in _EC2_KINDS},
    "acm:certificate": {},
    "application-autoscaling:ScalableTarget": {},
    "backup:backupPlan": {},
    "backup:backupVault": {"BackupVaultName": "{vault}"},
    "backup:restoreTestingPlan": {"RestoreTestingPlanName": "{restore_test}"},
    "budgets:budget": {"BudgetName": "{budget}"},
    "cloudwatch:alarm": {"AlarmName": "{alarm}"},
    "cloudwatch:dashboard": {"DashboardName": "{dashboard}"},
    "ecr:repository": {"RepositoryName": "{repository}"},
    "ecs:cluster": {"ClusterName": "{cluster}"},
    "ecs:service": {"ClusterName": "{cluster}"},
    "ecs:service-deployment": {"ClusterName": "{cluster}"},
    "ecs:service-revision": {"ClusterName": "{cluster}"},
    "ecs:task-definition": {"TaskDefinitionFamilyName": "{family}"},
    "elasticache:cluster": {"CacheClusterId": "{redis}-*"},
    "elasticache:parametergroup": {"CacheParameterGroupName": "{redis_parameters}"},
    "elasticache:replicationgroup": {"ReplicationGroupId": "{redis}"},
    "elasticache:snapshot": {"SnapshotName": "{redis}*"},
    "elasticache:subnetgroup": {"CacheSubnetGroupName": "{redis_subnets}"},
    "elasticache:user": {"UserId": "{redis_user}"},
    "elasticache:usergroup": {"UserGroupId": "{redis_users}"},
    "elasticloadbalancing:listener/app": {"LoadBalancerName": "{balancer}"},
    "elasticloadbalancing:loadbalancer/app/": {"LoadBalancerName": "{balancer}"},
    "elasticloadbalancing:targetgroup": {"TargetGroupName": "{target_group}"},
    "events:rule-on-default-event-bus": {"RuleName": "{rule}"},
    "iam:role": {"RoleNameWithPath": "{role}"},
    "kms:key": {},
    "logs:log-group": {"LogGroupName": "{log_group}*"},
    "rds:db": {"DbInstanceName": "{database}"},
    "rds:og": {"OptionGroupName": "default:*"},
    "rds:pg": {"ParameterGroupName": "{database_parameters}"},
    "rds:snapshot": {"SnapshotName": "{database}*"},
    "rds:subgrp": {"SubnetGroupName": "{database_subnets}"},
    "route53:change": {},
    "route53:hostedzone": {"Id": "{zone}"},
    "s3:bucket": {"BucketName": "{bucket}"},
    "s3:object": {"BucketName": "{bucket}"},
    "scheduler:schedule": {"ScheduleName": "{schedule}"},
    "secretsmanager:Secret": {"SecretId": "{secret}*"},
    "sns:topic": {"TopicName": "{topic}"},
    "wafv2:loadbalancer/app/": {"LoadBalancerName": "{balancer}"},
    "wafv2:managedruleset": {"Scope": "regional"},
    "wafv2:webacl": {"Scope": "regional", "Name": "{web_acl}"},
}
"""IAM resource type -> the variables of its ARN (`infra.iam.reference`) of which a plan holds the value; any other is
``*``. A resource type that is missing here and in `OWN_ARNS` is one that this project never uses."""

OWN_ARNS: Final = {
    # RDS is the one service whose data a stack has in a backup vault.
    "backup:recoveryPoint": "arn:{partition}:rds:{region}:{account}:snapshot:awsbackup:*",
    # The name of an alias in a plan begins with `alias/`.
    "kms:alias": "arn:{partition}:kms:{region}:{account}:{alias}",
}
"""ARNs that differ from the reference's."""

SERVICE_SECRETS: Final = {
    ("aws:rds/instance:Instance", "secretsmanager"): (
        "arn:{partition}:secretsmanager:{region}:{account}:secret:rds!db-*"
    ),
}
"""ARNs for a service's actions when a resource type calls them: RDS makes the secret of its master password itself."""

TAGGED: Final = ("acm", "ec2", "kms")
"""Services whose ARNs hold no names: what exists may be changed only where it carries the stack's tags."""

DEPLOY_POLICIES: Final[dict[str, tuple[str, ...]]] = {
    "network": ("ec2",),
    "balancer": ("acm", "elasticloadbalancing", "route53", "wafv2"),
    "services": ("application-autoscaling", "ecr", "ecs"),
    "data": ("elasticache", "kms", "rds", "secretsmanager"),
    "backup": ("backup", "backup-storage", "s3", "scheduler"),
    "monitoring": ("budgets", "cloudwatch", "events", "logs", "sns"),
    "roles": ("iam",),
}
"""How the deploy permissions are cut up: a managed policy holds 6144 characters, and a role ten policies."""
PREVIEW_POLICIES: Final[dict[str, tuple[str, ...]]] = {
    "services": tuple(
        service for area in ("network", "balancer", "services", "roles") for service in DEPLOY_POLICIES[area]
    ),
    "data": tuple(service for area in ("data", "backup", "monitoring") for service in DEPLOY_POLICIES[area]),
}
"""The same for previews."""
POLICY_LIMIT: Final = 6144
