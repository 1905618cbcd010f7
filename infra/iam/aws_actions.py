"""What the AWS provider calls for each resource type: to look at one, to make one, to change or delete one.

From the provider's source (hashicorp/terraform-provider-aws, version 6, which pulumi_aws 7 bridges). An action without
a service has that of its table. Tags are written with the resource and changed apart, so that both actions are listed.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Actions(NamedTuple):
    """IAM actions by purpose."""

    read: tuple[str, ...] = ()
    create: tuple[str, ...] = ()
    change: tuple[str, ...] = ()


def _actions(service: str, read: str = "", create: str = "", change: str = "") -> Actions:
    def each(text: str) -> tuple[str, ...]:
        return tuple(word if ":" in word else f"{service}:{word}" for word in text.split())

    return Actions(each(read), each(create), each(change))


_EC2_TAGS: Final = "CreateTags"
_ALARM_TAGS: Final = "TagResource UntagResource"
_BUCKET: Final = (
    "ListBucket GetAccelerateConfiguration GetBucketAcl GetBucketCORS GetBucketLocation GetBucketLogging "
    "GetBucketObjectLockConfiguration GetBucketPolicy GetBucketRequestPayment GetBucketTagging GetBucketVersioning "
    "GetBucketWebsite GetEncryptionConfiguration GetLifecycleConfiguration GetReplicationConfiguration "
    "ListTagsForResource"
)

TYPES: Final[dict[str, Actions]] = {
    # --- network
    "aws:ec2/vpc:Vpc": _actions(
        "ec2",
        "DescribeVpcs DescribeVpcAttribute DescribeNetworkAcls DescribeRouteTables DescribeSecurityGroups",
        f"CreateVpc {_EC2_TAGS}",
        "DeleteVpc ModifyVpcAttribute AssociateVpcCidrBlock DisassociateVpcCidrBlock DeleteTags",
    ),
    "aws:ec2/subnet:Subnet": _actions(
        "ec2",
        "DescribeSubnets DescribeNetworkInterfaces",
        f"CreateSubnet {_EC2_TAGS}",
        "DeleteSubnet ModifySubnetAttribute DeleteTags",
    ),
    "aws:ec2/internetGateway:InternetGateway": _actions(
        "ec2",
        "DescribeInternetGateways",
        f"CreateInternetGateway {_EC2_TAGS}",
        "AttachInternetGateway DetachInternetGateway DeleteInternetGateway DeleteTags",
    ),
    "aws:ec2/eip:Eip": _actions(
        "ec2",
        "DescribeAddresses DescribeAddressesAttribute",
        f"AllocateAddress {_EC2_TAGS}",
        "ReleaseAddress DeleteTags",
    ),
    "aws:ec2/natGateway:NatGateway": _actions(
        "ec2", "DescribeNatGateways", f"CreateNatGateway {_EC2_TAGS}", "DeleteNatGateway DeleteTags"
    ),
    "aws:ec2/routeTable:RouteTable": _actions(
        "ec2",
        "DescribeRouteTables",
        f"CreateRouteTable {_EC2_TAGS}",
        "CreateRoute ReplaceRoute DeleteRoute DeleteRouteTable DisassociateRouteTable DeleteTags",
    ),
    "aws:ec2/route:Route": _actions("ec2", "DescribeRouteTables", "", "CreateRoute ReplaceRoute DeleteRoute"),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": _actions(
        "ec2", "DescribeRouteTables", "", "AssociateRouteTable ReplaceRouteTableAssociation DisassociateRouteTable"
    ),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": _actions(
        "ec2",
        "DescribeSecurityGroups DescribeSecurityGroupRules",
        _EC2_TAGS,
        "RevokeSecurityGroupIngress RevokeSecurityGroupEgress DeleteTags",
    ),
    "aws:ec2/securityGroup:SecurityGroup": _actions(
        "ec2",
        "DescribeSecurityGroups DescribeSecurityGroupRules DescribeNetworkInterfaces",
        f"CreateSecurityGroup {_EC2_TAGS}",
        # A new group lets everything out; the provider takes that rule away.
        "RevokeSecurityGroupEgress RevokeSecurityGroupIngress DeleteSecurityGroup DeleteTags",
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _actions(
        "ec2",
        "DescribeSecurityGroupRules",
        f"AuthorizeSecurityGroupIngress {_EC2_TAGS}",
        "ModifySecurityGroupRules RevokeSecurityGroupIngress DeleteTags",
    ),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": _actions(
        "ec2",
        "DescribeSecurityGroupRules",
        f"AuthorizeSecurityGroupEgress {_EC2_TAGS}",
        "ModifySecurityGroupRules RevokeSecurityGroupEgress DeleteTags",
    ),
    "aws:ec2/vpcEndpoint:VpcEndpoint": _actions(
        "ec2",
        "DescribeVpcEndpoints DescribePrefixLists",
        f"CreateVpcEndpoint {_EC2_TAGS}",
        "ModifyVpcEndpoint DeleteVpcEndpoints DeleteTags",
    ),
    "aws:ec2/flowLog:FlowLog": _actions(
        "ec2", "DescribeFlowLogs", f"CreateFlowLogs {_EC2_TAGS} iam:PassRole", "DeleteFlowLogs DeleteTags"
    ),
    # --- services
    "aws:ecs/cluster:Cluster": _actions(
        "ecs",
        "DescribeClusters ListTagsForResource",
        "CreateCluster iam:CreateServiceLinkedRole",
        "UpdateCluster UpdateClusterSettings DeleteCluster TagResource UntagResource",
    ),
    "aws:ecs/clusterCapacityProviders:ClusterCapacityProviders": _actions(
        "ecs", "DescribeClusters", "", "PutClusterCapacityProviders"
    ),
    "aws:ecs/taskDefinition:TaskDefinition": _actions(
        "ecs",
        "DescribeTaskDefinition ListTagsForResource",
        "RegisterTaskDefinition iam:PassRole",
        "DeregisterTaskDefinition TagResource UntagResource",
    ),
    "aws:ecs/service:Service": _actions(
        "ecs",
        "DescribeServices DescribeServiceDeployments DescribeServiceRevisions ListServiceDeployments "
        "ListTagsForResource",
        "CreateService",
        "UpdateService DeleteService TagResource UntagResource",
    ),
    "aws:appautoscaling/target:Target": _actions(
        "application-autoscaling",
        "DescribeScalableTargets ListTagsForResource",
        "",
        "RegisterScalableTarget DeregisterScalableTarget TagResource UntagResource iam:CreateServiceLinkedRole",
    ),
    "aws:appautoscaling/policy:Policy": _actions(
        "application-autoscaling", "DescribeScalingPolicies", "", "PutScalingPolicy DeleteScalingPolicy"
    ),
    "aws:lb/loadBalancer:LoadBalancer": _actions(
        "elasticloadbalancing",
        "DescribeLoadBalancers DescribeLoadBalancerAttributes DescribeCapacityReservation DescribeTags",
        "CreateLoadBalancer AddTags iam:CreateServiceLinkedRole",
        "ModifyLoadBalancerAttributes SetSecurityGroups SetSubnets SetIpAddressType DeleteLoadBalancer RemoveTags",
    ),
    "aws:lb/targetGroup:TargetGroup": _actions(
        "elasticloadbalancing",
        "DescribeTargetGroups DescribeTargetGroupAttributes DescribeTags",
        "CreateTargetGroup AddTags",
        "ModifyTargetGroup ModifyTargetGroupAttributes DeleteTargetGroup RemoveTags",
    ),
    "aws:lb/listener:Listener": _actions(
        "elasticloadbalancing",
        "DescribeListeners DescribeListenerAttributes DescribeTags",
        "CreateListener AddTags",
        "ModifyListener ModifyListenerAttributes DeleteListener RemoveTags",
    ),
    "aws:acm/certificate:Certificate": _actions(
        "acm",
        "DescribeCertificate ListTagsForCertificate",
        "RequestCertificate AddTagsToCertificate",
        "DeleteCertificate RemoveTagsFromCertificate UpdateCertificateOptions",
    ),
    "aws:acm/certificateValidation:CertificateValidation": _actions("acm", "DescribeCertificate"),
    "aws:route53/record:Record": _actions(
        "route53", "GetChange GetHostedZone ListResourceRecordSets", "", "ChangeResourceRecordSets"
    ),
    "aws:wafv2/webAcl:WebAcl": _actions(
        "wafv2",
        "GetWebACL ListTagsForResource",
        "CreateWebACL",
        "UpdateWebACL DeleteWebACL TagResource UntagResource",
    ),
    "aws:wafv2/webAclAssociation:WebAclAssociation": _actions(
        "wafv2",
        "GetWebACLForResource",
        "",
        "AssociateWebACL DisassociateWebACL elasticloadbalancing:SetWebACL",
    ),
    "aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration": _actions(
        "wafv2",
        "GetLoggingConfiguration",
        "",
        "PutLoggingConfiguration DeleteLoggingConfiguration iam:CreateServiceLinkedRole logs:CreateLogDelivery "
        "logs:DeleteLogDelivery logs:DescribeLogGroups logs:DescribeResourcePolicies logs:PutResourcePolicy",
    ),
    "aws:ecr/repository:Repository": _actions(
        "ecr",
        "DescribeRepositories ListTagsForResource GetAuthorizationToken",
        "CreateRepository",
        "PutImageScanningConfiguration PutImageTagMutability DeleteRepository TagResource UntagResource "
        # What a push of the built image does.
        "BatchCheckLayerAvailability BatchGetImage CompleteLayerUpload GetDownloadUrlForLayer InitiateLayerUpload "
        "PutImage UploadLayerPart",
    ),
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": _actions(
        "ecr", "GetLifecyclePolicy", "", "PutLifecyclePolicy DeleteLifecyclePolicy"
    ),
    # --- data
    "aws:rds/instance:Instance": _actions(
        "rds",
        "DescribeDBInstances ListTagsForResource",
        "CreateDBInstance CreateDBInstanceReadReplica RestoreDBInstanceFromDBSnapshot "
        "RestoreDBInstanceToPointInTime AddTagsToResource iam:PassRole",
        "ModifyDBInstance RebootDBInstance DeleteDBInstance CreateDBSnapshot PromoteReadReplica RemoveTagsFromResource "
        # RDS keeps the master password in a secret of its own, with the deployer's rights.
        "secretsmanager:CreateSecret secretsmanager:TagResource secretsmanager:RotateSecret "
        "iam:CreateServiceLinkedRole",
    ),
    "aws:rds/subnetGroup:SubnetGroup": _actions(
        "rds",
        "DescribeDBSubnetGroups ListTagsForResource",
        "CreateDBSubnetGroup AddTagsToResource",
        "ModifyDBSubnetGroup DeleteDBSubnetGroup RemoveTagsFromResource",
    ),
    "aws:rds/parameterGroup:ParameterGroup": _actions(
        "rds",
        "DescribeDBParameterGroups DescribeDBParameters ListTagsForResource",
        "CreateDBParameterGroup AddTagsToResource",
        "ModifyDBParameterGroup ResetDBParameterGroup DeleteDBParameterGroup RemoveTagsFromResource",
    ),
    "aws:elasticache/replicationGroup:ReplicationGroup": _actions(
        "elasticache",
        "DescribeReplicationGroups DescribeCacheClusters ListTagsForResource",
        "CreateReplicationGroup AddTagsToResource",
        "ModifyReplicationGroup ModifyReplicationGroupShardConfiguration IncreaseReplicaCount DecreaseReplicaCount "
        "DeleteReplicationGroup CreateSnapshot RemoveTagsFromResource iam:CreateServiceLinkedRole",
    ),
    "aws:elasticache/subnetGroup:SubnetGroup": _actions(
        "elasticache",
        "DescribeCacheSubnetGroups ListTagsForResource",
        "CreateCacheSubnetGroup AddTagsToResource",
        "ModifyCacheSubnetGroup DeleteCacheSubnetGroup RemoveTagsFromResource",
    ),
    "aws:elasticache/parameterGroup:ParameterGroup": _actions(
        "elasticache",
        "DescribeCacheParameterGroups DescribeCacheParameters ListTagsForResource",
        "CreateCacheParameterGroup AddTagsToResource",
        "ModifyCacheParameterGroup ResetCacheParameterGroup DeleteCacheParameterGroup RemoveTagsFromResource",
    ),
    "aws:elasticache/user:User": _actions(
        "elasticache",
        "DescribeUsers ListTagsForResource",
        "CreateUser AddTagsToResource",
        "ModifyUser DeleteUser RemoveTagsFromResource",
    ),
    "aws:elasticache/userGroup:UserGroup": _actions(
        "elasticache",
        "DescribeUserGroups ListTagsForResource",
        "CreateUserGroup AddTagsToResource",
        "ModifyUserGroup DeleteUserGroup RemoveTagsFromResource",
    ),
    "aws:secretsmanager/secret:Secret": _actions(
        "secretsmanager",
        "DescribeSecret GetResourcePolicy",
        "CreateSecret TagResource",
        "UpdateSecret DeleteSecret UntagResource",
    ),
    "aws:secretsmanager/secretVersion:SecretVersion": _actions(
        "secretsmanager",
        "DescribeSecret",
        "",
        # The provider reads back what it wrote. A preview does not: it may not know any value.
        "GetSecretValue PutSecretValue UpdateSecretVersionStage",
    ),
    "aws:kms/key:Key": _actions(
        "kms",
        "DescribeKey GetKeyPolicy GetKeyRotationStatus ListResourceTags",
        "CreateKey TagResource",
        # Services encrypt with it in the deployer's name when they are told to use it.
        "CreateGrant Decrypt EnableKeyRotation GenerateDataKey PutKeyPolicy ScheduleKeyDeletion UntagResource "
        "UpdateKeyDescription",
    ),
    # An alias has no tags by which to tell whose it is; its name does.
    "aws:kms/alias:Alias": _actions("kms", "ListAliases", "CreateAlias UpdateAlias DeleteAlias"),
    "aws:s3/bucket:Bucket": _actions(
        "s3", _BUCKET, "CreateBucket", "DeleteBucket PutBucketTagging TagResource UntagResource"
    ),
    "aws:s3/bucketVersioning:BucketVersioning": _actions("s3", "GetBucketVersioning", "", "PutBucketVersioning"),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _actions(
        "s3", "GetEncryptionConfiguration", "", "PutEncryptionConfiguration"
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _actions(
        "s3", "GetBucketPublicAccessBlock", "", "PutBucketPublicAccessBlock"
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _actions(
        "s3", "GetBucketOwnershipControls", "", "PutBucketOwnershipControls"
    ),
    "aws:s3/bucketPolicy:BucketPolicy": _actions("s3", "GetBucketPolicy", "", "PutBucketPolicy DeleteBucketPolicy"),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _actions(
        "s3", "GetLifecycleConfiguration", "", "PutLifecycleConfiguration"
    ),
    "aws:s3/bucketReplicationConfig:BucketReplicationConfig": _actions(
        "s3", "GetReplicationConfiguration", "iam:PassRole", "PutReplicationConfiguration"
    ),
    "aws:backup/vault:Vault": _actions(
        "backup",
        "DescribeBackupVault ListTags",
        "CreateBackupVault backup-storage:MountCapsule",
        "DeleteBackupVault TagResource UntagResource",
    ),
    "aws:backup/plan:Plan": _actions(
        "backup",
        "GetBackupPlan ListTags",
        "CreateBackupPlan",
        "UpdateBackupPlan DeleteBackupPlan TagResource UntagResource",
    ),
    "aws:backup/selection:Selection": _actions(
        "backup",
        "GetBackupSelection",
        "CreateBackupSelection iam:PassRole iam:CreateServiceLinkedRole",
        "DeleteBackupSelection",
    ),
    "aws:backup/restoreTestingPlan:RestoreTestingPlan": _actions(
        "backup",
        "GetRestoreTestingPlan ListTags",
        "CreateRestoreTestingPlan iam:CreateServiceLinkedRole",
        "UpdateRestoreTestingPlan DeleteRestoreTestingPlan TagResource UntagResource",
    ),
    "aws:backup/restoreTestingSelection:RestoreTestingSelection": _actions(
        "backup",
        "GetRestoreTestingSelection",
        "CreateRestoreTestingSelection iam:PassRole",
        "UpdateRestoreTestingSelection DeleteRestoreTestingSelection",
    ),
    # --- operations
    "aws:iam/role:Role": _actions(
        "iam",
        "GetRole ListAttachedRolePolicies ListInstanceProfilesForRole ListRolePolicies ListRoleTags",
        "CreateRole",
        "UpdateRole UpdateRoleDescription UpdateAssumeRolePolicy DeleteRole TagRole UntagRole",
    ),
    "aws:iam/rolePolicy:RolePolicy": _actions("iam", "GetRolePolicy", "", "PutRolePolicy DeleteRolePolicy"),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": _actions(
        "iam", "ListAttachedRolePolicies", "", "AttachRolePolicy DetachRolePolicy"
    ),
    "aws:cloudwatch/logGroup:LogGroup": _actions(
        "logs",
        "DescribeLogGroups ListTagsForResource",
        "CreateLogGroup",
        "PutRetentionPolicy DeleteRetentionPolicy AssociateKmsKey DisassociateKmsKey DeleteLogGroup TagResource "
        "UntagResource",
    ),
    "aws:cloudwatch/logMetricFilter:LogMetricFilter": _actions(
        "logs", "DescribeMetricFilters", "", "PutMetricFilter DeleteMetricFilter"
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": _actions(
        "cloudwatch", "DescribeAlarms ListTagsForResource", "", f"PutMetricAlarm DeleteAlarms {_ALARM_TAGS}"
    ),
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": _actions(
        "cloudwatch", "DescribeAlarms ListTagsForResource", "", f"PutCompositeAlarm DeleteAlarms {_ALARM_TAGS}"
    ),
    "aws:cloudwatch/dashboard:Dashboard": _actions("cloudwatch", "GetDashboard", "", "PutDashboard DeleteDashboards"),
    "aws:cloudwatch/eventRule:EventRule": _actions(
        "events",
        "DescribeRule ListTagsForResource",
        "",
        "PutRule DeleteRule EnableRule DisableRule TagResource UntagResource",
    ),
    "aws:cloudwatch/eventTarget:EventTarget": _actions("events", "ListTargetsByRule", "", "PutTargets RemoveTargets"),
    "aws:sns/topic:Topic": _actions(
        "sns",
        "GetTopicAttributes ListTagsForResource",
        "CreateTopic",
        "SetTopicAttributes DeleteTopic TagResource UntagResource",
    ),
    "aws:sns/topicPolicy:TopicPolicy": _actions("sns", "GetTopicAttributes", "", "SetTopicAttributes"),
    "aws:sns/topicSubscription:TopicSubscription": _actions(
        "sns",
        "GetSubscriptionAttributes ListSubscriptionsByTopic",
        "",
        "Subscribe SetSubscriptionAttributes Unsubscribe",
    ),
    "aws:scheduler/schedule:Schedule": _actions(
        "scheduler", "GetSchedule", "CreateSchedule iam:PassRole", "UpdateSchedule DeleteSchedule"
    ),
    "aws:budgets/budget:Budget": _actions(
        "budgets", "ViewBudget ListTagsForResource", "", "ModifyBudget TagResource UntagResource"
    ),
}

SWITCHED: Final[dict[tuple[str, str], Actions]] = {
    ("aws:backup/vault:Vault", "forceDestroy"): _actions(
        "backup", "ListRecoveryPointsByBackupVault", "", "DeleteRecoveryPoint"
    ),
    ("aws:s3/bucket:Bucket", "forceDestroy"): _actions(
        "s3", "ListBucketVersions", "", "DeleteObject DeleteObjectVersion"
    ),
}
"""Further calls for a type when a property is true: emptying what may go with its contents."""
