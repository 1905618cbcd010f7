"""What the AWS provider calls for each resource type. No library has this table.

From the provider's source (hashicorp/terraform-provider-aws, version 6, which pulumi_aws 7 bridges).
"""

from __future__ import annotations

from typing import Final

_TAGS: Final[dict[str, str]] = {
    "ec2": "CreateTags DeleteTags",
    "acm": "AddTagsToCertificate ListTagsForCertificate RemoveTagsFromCertificate",
    "elasticloadbalancing": "AddTags DescribeTags RemoveTags",
    "kms": "ListResourceTags TagResource UntagResource",
    "iam": "ListRoleTags TagRole UntagRole",
    "rds": "AddTagsToResource ListTagsForResource RemoveTagsFromResource",
    "elasticache": "AddTagsToResource ListTagsForResource RemoveTagsFromResource",
    "backup": "ListTags TagResource UntagResource",
    "secretsmanager": "TagResource UntagResource",
}
"""The calls of services that name them in their own way. Tags are written with a resource, and changed apart."""


def _actions(text: str) -> tuple[str, ...]:
    """IAM actions from a service's name and those of its operations; `tags` stands for its calls about tags."""
    service, *names = text.split()
    tags = _TAGS.get(service, "ListTagsForResource TagResource UntagResource")
    words = " ".join(tags if name == "tags" else name for name in names).split()
    return tuple(word if ":" in word else f"{service}:{word}" for word in words)


CALLS: Final = {
    # --- network
    "aws:ec2/vpc:Vpc": _actions(
        "ec2 tags DescribeVpcs DescribeVpcAttribute DescribeNetworkAcls DescribeRouteTables DescribeSecurityGroups "
        "CreateVpc DeleteVpc ModifyVpcAttribute AssociateVpcCidrBlock DisassociateVpcCidrBlock"
    ),
    "aws:ec2/subnet:Subnet": _actions(
        "ec2 tags DescribeSubnets DescribeNetworkInterfaces CreateSubnet DeleteSubnet ModifySubnetAttribute"
    ),
    "aws:ec2/internetGateway:InternetGateway": _actions(
        "ec2 tags DescribeInternetGateways CreateInternetGateway AttachInternetGateway DetachInternetGateway "
        "DeleteInternetGateway"
    ),
    "aws:ec2/eip:Eip": _actions("ec2 tags DescribeAddresses DescribeAddressesAttribute AllocateAddress ReleaseAddress"),
    "aws:ec2/natGateway:NatGateway": _actions("ec2 tags DescribeNatGateways CreateNatGateway DeleteNatGateway"),
    "aws:ec2/routeTable:RouteTable": _actions(
        "ec2 tags DescribeRouteTables CreateRouteTable CreateRoute ReplaceRoute DeleteRoute DeleteRouteTable "
        "DisassociateRouteTable"
    ),
    "aws:ec2/route:Route": _actions("ec2 DescribeRouteTables CreateRoute ReplaceRoute DeleteRoute"),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": _actions(
        "ec2 DescribeRouteTables AssociateRouteTable ReplaceRouteTableAssociation DisassociateRouteTable"
    ),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": _actions(
        "ec2 tags DescribeSecurityGroups DescribeSecurityGroupRules RevokeSecurityGroupIngress "
        "RevokeSecurityGroupEgress"
    ),
    # A new group lets everything out; the provider revokes that rule.
    "aws:ec2/securityGroup:SecurityGroup": _actions(
        "ec2 tags DescribeSecurityGroups DescribeSecurityGroupRules DescribeNetworkInterfaces CreateSecurityGroup "
        "RevokeSecurityGroupEgress RevokeSecurityGroupIngress DeleteSecurityGroup"
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _actions(
        "ec2 tags DescribeSecurityGroupRules AuthorizeSecurityGroupIngress ModifySecurityGroupRules "
        "RevokeSecurityGroupIngress"
    ),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": _actions(
        "ec2 tags DescribeSecurityGroupRules AuthorizeSecurityGroupEgress ModifySecurityGroupRules "
        "RevokeSecurityGroupEgress"
    ),
    "aws:ec2/vpcEndpoint:VpcEndpoint": _actions(
        "ec2 tags DescribeVpcEndpoints DescribePrefixLists CreateVpcEndpoint ModifyVpcEndpoint DeleteVpcEndpoints"
    ),
    "aws:ec2/flowLog:FlowLog": _actions("ec2 tags DescribeFlowLogs CreateFlowLogs DeleteFlowLogs"),
    # --- services
    "aws:ecs/cluster:Cluster": _actions(
        "ecs tags DescribeClusters CreateCluster UpdateCluster UpdateClusterSettings DeleteCluster"
    ),
    "aws:ecs/clusterCapacityProviders:ClusterCapacityProviders": _actions(
        "ecs DescribeClusters PutClusterCapacityProviders"
    ),
    "aws:ecs/taskDefinition:TaskDefinition": _actions(
        "ecs tags DescribeTaskDefinition RegisterTaskDefinition DeregisterTaskDefinition"
    ),
    "aws:ecs/service:Service": _actions(
        "ecs tags DescribeServices DescribeServiceDeployments DescribeServiceRevisions ListServiceDeployments "
        "CreateService UpdateService DeleteService"
    ),
    "aws:appautoscaling/target:Target": _actions(
        "application-autoscaling tags DescribeScalableTargets RegisterScalableTarget DeregisterScalableTarget"
    ),
    "aws:appautoscaling/policy:Policy": _actions(
        "application-autoscaling DescribeScalingPolicies PutScalingPolicy DeleteScalingPolicy"
    ),
    "aws:lb/loadBalancer:LoadBalancer": _actions(
        "elasticloadbalancing tags DescribeLoadBalancers DescribeLoadBalancerAttributes DescribeCapacityReservation "
        "CreateLoadBalancer ModifyLoadBalancerAttributes SetSecurityGroups SetSubnets SetIpAddressType "
        "DeleteLoadBalancer"
    ),
    "aws:lb/targetGroup:TargetGroup": _actions(
        "elasticloadbalancing tags DescribeTargetGroups DescribeTargetGroupAttributes CreateTargetGroup "
        "ModifyTargetGroup ModifyTargetGroupAttributes DeleteTargetGroup"
    ),
    "aws:lb/listener:Listener": _actions(
        "elasticloadbalancing tags DescribeListeners DescribeListenerAttributes CreateListener ModifyListener "
        "ModifyListenerAttributes DeleteListener"
    ),
    "aws:acm/certificate:Certificate": _actions(
        "acm tags DescribeCertificate RequestCertificate DeleteCertificate UpdateCertificateOptions"
    ),
    "aws:acm/certificateValidation:CertificateValidation": _actions("acm DescribeCertificate"),
    "aws:route53/record:Record": _actions(
        "route53 GetChange GetHostedZone ListResourceRecordSets ChangeResourceRecordSets"
    ),
    "aws:wafv2/webAcl:WebAcl": _actions("wafv2 tags GetWebACL CreateWebACL UpdateWebACL DeleteWebACL"),
    "aws:wafv2/webAclAssociation:WebAclAssociation": _actions(
        "wafv2 GetWebACLForResource AssociateWebACL DisassociateWebACL elasticloadbalancing:SetWebACL"
    ),
    "aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration": _actions(
        "wafv2 GetLoggingConfiguration PutLoggingConfiguration DeleteLoggingConfiguration logs:CreateLogDelivery "
        "logs:DeleteLogDelivery logs:DescribeLogGroups logs:DescribeResourcePolicies logs:PutResourcePolicy"
    ),
    # With what a push of the built image calls.
    "aws:ecr/repository:Repository": _actions(
        "ecr tags DescribeRepositories GetAuthorizationToken CreateRepository PutImageScanningConfiguration "
        "PutImageTagMutability DeleteRepository BatchCheckLayerAvailability BatchGetImage CompleteLayerUpload "
        "GetDownloadUrlForLayer InitiateLayerUpload PutImage UploadLayerPart"
    ),
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": _actions(
        "ecr GetLifecyclePolicy PutLifecyclePolicy DeleteLifecyclePolicy"
    ),
    # --- data
    # RDS keeps the master password in a secret of its own, which it makes with the deployer's rights.
    "aws:rds/instance:Instance": _actions(
        "rds tags DescribeDBInstances CreateDBInstance CreateDBInstanceReadReplica RestoreDBInstanceFromDBSnapshot "
        "RestoreDBInstanceToPointInTime ModifyDBInstance RebootDBInstance DeleteDBInstance CreateDBSnapshot "
        "PromoteReadReplica secretsmanager:CreateSecret secretsmanager:TagResource secretsmanager:RotateSecret"
    ),
    "aws:rds/subnetGroup:SubnetGroup": _actions(
        "rds tags DescribeDBSubnetGroups CreateDBSubnetGroup ModifyDBSubnetGroup DeleteDBSubnetGroup"
    ),
    "aws:rds/parameterGroup:ParameterGroup": _actions(
        "rds tags DescribeDBParameterGroups DescribeDBParameters CreateDBParameterGroup ModifyDBParameterGroup "
        "ResetDBParameterGroup DeleteDBParameterGroup"
    ),
    "aws:elasticache/replicationGroup:ReplicationGroup": _actions(
        "elasticache tags DescribeReplicationGroups DescribeCacheClusters CreateReplicationGroup "
        "ModifyReplicationGroup ModifyReplicationGroupShardConfiguration IncreaseReplicaCount DecreaseReplicaCount "
        "DeleteReplicationGroup CreateSnapshot"
    ),
    "aws:elasticache/subnetGroup:SubnetGroup": _actions(
        "elasticache tags DescribeCacheSubnetGroups CreateCacheSubnetGroup ModifyCacheSubnetGroup "
        "DeleteCacheSubnetGroup"
    ),
    "aws:elasticache/parameterGroup:ParameterGroup": _actions(
        "elasticache tags DescribeCacheParameterGroups DescribeCacheParameters CreateCacheParameterGroup "
        "ModifyCacheParameterGroup ResetCacheParameterGroup DeleteCacheParameterGroup"
    ),
    "aws:elasticache/user:User": _actions("elasticache tags DescribeUsers CreateUser ModifyUser DeleteUser"),
    "aws:elasticache/userGroup:UserGroup": _actions(
        "elasticache tags DescribeUserGroups CreateUserGroup ModifyUserGroup DeleteUserGroup"
    ),
    "aws:secretsmanager/secret:Secret": _actions(
        "secretsmanager tags DescribeSecret GetResourcePolicy CreateSecret UpdateSecret DeleteSecret"
    ),
    # The provider reads back what it wrote.
    "aws:secretsmanager/secretVersion:SecretVersion": _actions(
        "secretsmanager DescribeSecret GetSecretValue PutSecretValue UpdateSecretVersionStage"
    ),
    # Services that are given the key encrypt with it in the deployer's name.
    "aws:kms/key:Key": _actions(
        "kms tags DescribeKey GetKeyPolicy GetKeyRotationStatus CreateKey CreateGrant Decrypt EnableKeyRotation "
        "GenerateDataKey PutKeyPolicy ScheduleKeyDeletion UpdateKeyDescription"
    ),
    "aws:kms/alias:Alias": _actions("kms ListAliases CreateAlias UpdateAlias DeleteAlias"),
    "aws:s3/bucket:Bucket": _actions(
        "s3 tags ListBucket GetAccelerateConfiguration GetBucketAcl GetBucketCORS GetBucketLocation GetBucketLogging "
        "GetBucketObjectLockConfiguration GetBucketPolicy GetBucketRequestPayment GetBucketTagging GetBucketVersioning "
        "GetBucketWebsite GetEncryptionConfiguration GetLifecycleConfiguration GetReplicationConfiguration "
        "CreateBucket DeleteBucket PutBucketTagging"
    ),
    "aws:s3/bucketVersioning:BucketVersioning": _actions("s3 GetBucketVersioning PutBucketVersioning"),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _actions(
        "s3 GetEncryptionConfiguration PutEncryptionConfiguration"
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _actions(
        "s3 GetBucketPublicAccessBlock PutBucketPublicAccessBlock"
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _actions(
        "s3 GetBucketOwnershipControls PutBucketOwnershipControls"
    ),
    "aws:s3/bucketPolicy:BucketPolicy": _actions("s3 GetBucketPolicy PutBucketPolicy DeleteBucketPolicy"),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _actions(
        "s3 GetLifecycleConfiguration PutLifecycleConfiguration"
    ),
    "aws:s3/bucketReplicationConfig:BucketReplicationConfig": _actions(
        "s3 GetReplicationConfiguration PutReplicationConfiguration"
    ),
    "aws:backup/vault:Vault": _actions(
        "backup tags DescribeBackupVault CreateBackupVault backup-storage:MountCapsule DeleteBackupVault"
    ),
    "aws:backup/plan:Plan": _actions("backup tags GetBackupPlan CreateBackupPlan UpdateBackupPlan DeleteBackupPlan"),
    "aws:backup/selection:Selection": _actions("backup GetBackupSelection CreateBackupSelection DeleteBackupSelection"),
    "aws:backup/restoreTestingPlan:RestoreTestingPlan": _actions(
        "backup tags GetRestoreTestingPlan CreateRestoreTestingPlan UpdateRestoreTestingPlan DeleteRestoreTestingPlan"
    ),
    "aws:backup/restoreTestingSelection:RestoreTestingSelection": _actions(
        "backup GetRestoreTestingSelection CreateRestoreTestingSelection UpdateRestoreTestingSelection "
        "DeleteRestoreTestingSelection"
    ),
    # --- operations
    "aws:iam/role:Role": _actions(
        "iam tags GetRole ListAttachedRolePolicies ListInstanceProfilesForRole ListRolePolicies CreateRole UpdateRole "
        "UpdateRoleDescription UpdateAssumeRolePolicy DeleteRole"
    ),
    "aws:iam/rolePolicy:RolePolicy": _actions("iam GetRolePolicy PutRolePolicy DeleteRolePolicy"),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": _actions(
        "iam ListAttachedRolePolicies AttachRolePolicy DetachRolePolicy"
    ),
    "aws:cloudwatch/logGroup:LogGroup": _actions(
        "logs tags DescribeLogGroups CreateLogGroup PutRetentionPolicy DeleteRetentionPolicy AssociateKmsKey "
        "DisassociateKmsKey DeleteLogGroup"
    ),
    "aws:cloudwatch/logMetricFilter:LogMetricFilter": _actions(
        "logs DescribeMetricFilters PutMetricFilter DeleteMetricFilter"
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": _actions("cloudwatch tags DescribeAlarms PutMetricAlarm DeleteAlarms"),
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": _actions(
        "cloudwatch tags DescribeAlarms PutCompositeAlarm DeleteAlarms"
    ),
    "aws:cloudwatch/dashboard:Dashboard": _actions("cloudwatch GetDashboard PutDashboard DeleteDashboards"),
    "aws:cloudwatch/eventRule:EventRule": _actions(
        "events tags DescribeRule PutRule DeleteRule EnableRule DisableRule"
    ),
    "aws:cloudwatch/eventTarget:EventTarget": _actions("events ListTargetsByRule PutTargets RemoveTargets"),
    "aws:sns/topic:Topic": _actions("sns tags GetTopicAttributes CreateTopic SetTopicAttributes DeleteTopic"),
    "aws:sns/topicPolicy:TopicPolicy": _actions("sns GetTopicAttributes SetTopicAttributes"),
    "aws:sns/topicSubscription:TopicSubscription": _actions(
        "sns GetSubscriptionAttributes ListSubscriptionsByTopic Subscribe SetSubscriptionAttributes Unsubscribe"
    ),
    "aws:scheduler/schedule:Schedule": _actions("scheduler GetSchedule CreateSchedule UpdateSchedule DeleteSchedule"),
    "aws:budgets/budget:Budget": _actions("budgets tags ViewBudget ModifyBudget"),
}
"""Resource type -> IAM actions, but for those that give roles to services: see `PASSED_TO` and `LINKED`."""

CALLS_WHEN_TRUE: Final = {
    ("aws:backup/vault:Vault", "forceDestroy"): _actions("backup ListRecoveryPointsByBackupVault DeleteRecoveryPoint"),
    ("aws:s3/bucket:Bucket", "forceDestroy"): _actions("s3 ListBucketVersions DeleteObject DeleteObjectVersion"),
}
"""Further calls for a type when a property is true: what is deleted with its contents is emptied first."""

DEPLOY_ONLY: Final = frozenset(
    {
        *_actions("ecr BatchCheckLayerAvailability BatchGetImage GetDownloadUrlForLayer"),
        "logs:DescribeResourcePolicies",
        "secretsmanager:GetSecretValue",
    }
)
"""What reads, and is still not for previews: no secret's value, and what only a push or a change needs."""

BEFORE_TAGS: Final = frozenset(
    {
        *_actions("acm AddTagsToCertificate RequestCertificate"),
        *_actions("ec2 AllocateAddress AuthorizeSecurityGroupEgress AuthorizeSecurityGroupIngress CreateFlowLogs"),
        *_actions("ec2 CreateInternetGateway CreateNatGateway CreateRouteTable CreateSecurityGroup CreateSubnet"),
        *_actions("ec2 CreateTags CreateVpc CreateVpcEndpoint"),
        *_actions("kms CreateKey TagResource"),
        # An alias has no tags; its name says whose it is.
        *_actions("kms CreateAlias DeleteAlias UpdateAlias"),
    }
)
"""Of the services in `infra.iam.arns.TAGGED`, what works on a resource before it has the stack's tags."""

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
