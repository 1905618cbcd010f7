"""IAM, KMS, Secrets Manager, S3, logs, alarms, topics, events, schedules, budgets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emulator.mapping import Kind, Step

if TYPE_CHECKING:
    from emulator.cloud import Cloud


def _delete_role(cloud: Cloud, outputs: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    name = known["id"]
    if outputs.get("forceDetachPolicies"):
        for policy in cloud.call("iam", "ListAttachedRolePolicies", {"RoleName": name})["AttachedPolicies"]:
            cloud.call("iam", "DetachRolePolicy", {"RoleName": name, "PolicyArn": policy["PolicyArn"]})
    cloud.call("iam", "DeleteRole", {"RoleName": name})


def _bucket(cloud: Cloud, inputs: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    import secrets

    name = inputs.get("bucket") or f"{inputs['bucketPrefix']}{secrets.token_hex(8)}"
    region = inputs.get("region") or known["region"]
    where = {"LocationConstraint": region}
    cloud.call("s3", "CreateBucket", {"Bucket": name, "CreateBucketConfiguration": where}, region=region)
    tags = inputs.get("tagsAll")
    if tags:
        pairs = [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
        cloud.call("s3", "PutBucketTagging", {"Bucket": name, "Tagging": {"TagSet": pairs}}, region=region)
    return name, {
        "arn": f"arn:aws:s3:::{name}",
        "bucket": name,
        "bucketDomainName": f"{name}.s3.amazonaws.com",
        "bucketRegionalDomainName": f"{name}.s3.{region}.amazonaws.com",
        "region": region,
    }


def _delete_bucket(cloud: Cloud, outputs: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    if outputs.get("forceDestroy"):
        versions = cloud.call("s3", "ListObjectVersions", {"Bucket": known["id"]})
        for item in [*versions.get("Versions", []), *versions.get("DeleteMarkers", [])]:
            cloud.call(
                "s3", "DeleteObject", {"Bucket": known["id"], "Key": item["Key"], "VersionId": item["VersionId"]}
            )
    cloud.call("s3", "DeleteBucket", {"Bucket": known["id"]}, region=known["placed"])


def _bucket_part(
    name: str, put: str, delete: str | None, names: Mapping[str, str], *, also: tuple[str, ...] = (), **more: Any
) -> tuple[Kind, ...]:
    """One of the resources that a bucket is split into; `also` are former names of the type."""
    step = Step(operation=put, names={"bucket": "Bucket", **names}, **more)
    gone = (Step(operation=delete, fixed={"Bucket": "{bucket}"}),) if delete else ()
    return tuple(
        Kind(
            type=f"aws:s3/{lower}:{lower[0].upper()}{lower[1:]}",
            service="s3",
            create=step,
            update=step,
            id="={bucket}",
            delete=gone,
            replaces=frozenset({"bucket"}),
        )
        for lower in (name, *also)
    )


def _lifecycle(rules: Any) -> dict[str, Any]:
    """The API's own rule for each of the provider's; what is not known here is refused."""
    made = []
    for rule in rules:
        out: dict[str, Any] = {"Status": rule["status"], "ID": rule["id"], "Filter": {"Prefix": ""}}
        for key, value in rule.items():
            if key in ("id", "status"):
                continue
            if key == "filter":
                extra = set(value) - {"prefix"}
                if extra:
                    raise ValueError(f"rules.filter has {', '.join(extra)}")
                out["Filter"] = {"Prefix": value.get("prefix", "")}
            elif key == "expiration":
                table = {"days": "Days", "expiredObjectDeleteMarker": "ExpiredObjectDeleteMarker"}
                out["Expiration"] = {table[part]: _whole(item) for part, item in value.items()}
            elif key == "noncurrentVersionExpiration":
                table = {"noncurrentDays": "NoncurrentDays", "newerNoncurrentVersions": "NewerNoncurrentVersions"}
                out["NoncurrentVersionExpiration"] = {table[part]: _whole(item) for part, item in value.items()}
            elif key == "abortIncompleteMultipartUpload":
                days = _whole(value["daysAfterInitiation"])
                out["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": days}
            elif key == "transitions":
                out["Transitions"] = [
                    {"Days": _whole(item["days"]), "StorageClass": item["storageClass"]} for item in value
                ]
            else:
                raise ValueError(f"rules.{key} has no place")
        made.append(out)
    return {"Rules": made}


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) else value


_ALARM_NAMES = {
    "name": "AlarmName",
    "metricQueries": "Metrics",
    "metricQueries.metric": "MetricStat",
    "metricQueries.metric.metricName": "Metric.MetricName",
    "metricQueries.metric.namespace": "Metric.Namespace",
    "metricQueries.metric.dimensions": "Metric.Dimensions",
}
_ALARM = Step(operation="PutMetricAlarm", names=_ALARM_NAMES)
_COMPOSITE = Step(
    operation="PutCompositeAlarm",
    spread={
        "actionsSuppressor": {
            "alarm": "ActionsSuppressor",
            "extensionPeriod": "ActionsSuppressorExtensionPeriod",
            "waitPeriod": "ActionsSuppressorWaitPeriod",
        }
    },
)
_RULE = Step(operation="PutRule")

_TOPIC_ATTRIBUTES = {
    "displayName": "DisplayName",
    "policy": "Policy",
    "deliveryPolicy": "DeliveryPolicy",
    "kmsMasterKeyId": "KmsMasterKeyId",
    "signatureVersion": "SignatureVersion",
    "tracingConfig": "TracingConfig",
}


def _topic_attribute(property_: str, attribute: str) -> Step:
    return Step(
        operation="SetTopicAttributes",
        fixed={"TopicArn": "{id}", "AttributeName": attribute},
        only=frozenset({property_}),
        build=lambda inputs: {"AttributeValue": str(_whole(inputs[property_]))},
    )


def _subscribe(inputs: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {
        "rawMessageDelivery": "RawMessageDelivery",
        "filterPolicy": "FilterPolicy",
        "redrivePolicy": "RedrivePolicy",
        "deliveryPolicy": "DeliveryPolicy",
    }
    found = {
        member: str(inputs[name]).lower() if isinstance(inputs[name], bool) else inputs[name]
        for name, member in attributes.items()
        if inputs.get(name) is not None
    }
    return {
        "TopicArn": inputs["topic"],
        "Protocol": inputs["protocol"],
        "Endpoint": inputs["endpoint"],
        "ReturnSubscriptionArn": True,
        **({"Attributes": found} if found else {}),
    }


def _delete_subscription(cloud: Cloud, outputs: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    cloud.call("sns", "Unsubscribe", {"SubscriptionArn": known["id"]})


_TARGET_NAMES = {
    "arn": "Arn",
    "roleArn": "RoleArn",
    "input": "Input",
    "inputPath": "InputPath",
    "targetId": "Id",
}


def _target(inputs: Mapping[str, Any]) -> dict[str, Any]:
    target = {member: inputs[name] for name, member in _TARGET_NAMES.items() if inputs.get(name) is not None}
    transformer = inputs.get("inputTransformer")
    if transformer:
        target["InputTransformer"] = {
            "InputTemplate": transformer["inputTemplate"],
            "InputPathsMap": transformer.get("inputPaths", {}),
        }
    for name, member in (("deadLetterConfig", "DeadLetterConfig"), ("retryPolicy", "RetryPolicy")):
        if inputs.get(name):
            target[member] = {key[0].upper() + key[1:]: _whole(value) for key, value in inputs[name].items()}
    return {"Rule": inputs["rule"], "Targets": [target]}


def _schedule(value: Mapping[str, Any]) -> dict[str, Any]:
    from emulator.kinds.platform import awsvpc
    from emulator.mapping import convert
    from emulator.model import operation

    shape = operation("scheduler", "CreateSchedule").input_shape.members["Target"]
    target = dict(value)
    ecs = dict(target.pop("ecsParameters", None) or {})
    network = ecs.pop("networkConfiguration", None)
    made: dict[str, Any] = convert(shape, target, "target", {})
    if ecs:
        inner = {"ecsParameters.capacityProviderStrategies": "CapacityProviderStrategy"}
        made["EcsParameters"] = convert(shape.members["EcsParameters"], ecs, "ecsParameters", inner)
    if network:
        inner_vpc = awsvpc(network)["awsvpcConfiguration"]
        made["EcsParameters"]["NetworkConfiguration"] = {
            "awsvpcConfiguration": {key[0].upper() + key[1:]: item for key, item in inner_vpc.items()}
        }
    return made


def _budget(inputs: Mapping[str, Any]) -> dict[str, Any]:
    budget: dict[str, Any] = {
        "BudgetName": inputs["name"],
        "BudgetType": inputs["budgetType"],
        "TimeUnit": inputs["timeUnit"],
        "BudgetLimit": {"Amount": str(_whole(inputs["limitAmount"])), "Unit": inputs["limitUnit"]},
    }
    filters = inputs.get("costFilters")
    if filters:
        budget["CostFilters"] = {item["name"]: list(item["values"]) for item in filters}
    return budget


def _create_budget(inputs: Mapping[str, Any]) -> dict[str, Any]:
    notifications = []
    for item in inputs.get("notifications") or []:
        subscribers = [
            {"SubscriptionType": kind, "Address": address}
            for name, kind in (("subscriberEmailAddresses", "EMAIL"), ("subscriberSnsTopicArns", "SNS"))
            for address in item.get(name) or []
        ]
        notifications.append(
            {
                "Notification": {
                    "NotificationType": item["notificationType"],
                    "ComparisonOperator": item["comparisonOperator"],
                    "Threshold": float(item["threshold"]),
                    "ThresholdType": item["thresholdType"],
                },
                "Subscribers": subscribers,
            }
        )
    tags = [{"Key": key, "Value": value} for key, value in sorted((inputs.get("tags") or {}).items())]
    told = {"ResourceTags": tags} if tags else {}
    return {"Budget": _budget(inputs), "NotificationsWithSubscribers": notifications, **told}


_BUDGET = frozenset({"name", "budgetType", "timeUnit", "limitAmount", "limitUnit", "costFilters", "notifications"})


def _delete_secret(cloud: Cloud, outputs: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    days = outputs.get("recoveryWindowInDays", 30)
    how = {"RecoveryWindowInDays": int(days)} if days else {"ForceDeleteWithoutRecovery": True}
    cloud.call("secretsmanager", "DeleteSecret", {"SecretId": known["id"], **how})


def _delete_log_group(cloud: Cloud, outputs: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    if not outputs.get("skipDestroy"):
        cloud.call("logs", "DeleteLogGroup", {"logGroupName": known["id"]})


def _rotation(inputs: Mapping[str, Any]) -> dict[str, Any]:
    days = inputs.get("rotationPeriodInDays")
    return {"RotationPeriodInDays": int(days)} if days else {}


_SECRET_UPDATE = frozenset({"description", "kmsKeyId"})

KINDS = (
    Kind(
        type="aws:iam/role:Role",
        service="iam",
        create=Step(operation="CreateRole", names={"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument"}),
        record="Role",
        id="RoleName",
        outputs={"arn": "Arn", "uniqueId": "RoleId"},
        steps=(
            Step(
                operation="UpdateAssumeRolePolicy",
                fixed={"RoleName": "{id}"},
                names={"assumeRolePolicy": "PolicyDocument"},
                only=frozenset({"assumeRolePolicy"}),
            ),
            Step(
                operation="UpdateRole",
                fixed={"RoleName": "{id}"},
                only=frozenset({"description", "maxSessionDuration"}),
            ),
        ),
        delete=_delete_role,
        local={"forceDetachPolicies": "how the provider deletes"},
        replaces=frozenset({"name", "namePrefix", "path"}),
        named="name",
        name_limit=64,
    ),
    Kind(
        type="aws:iam/rolePolicy:RolePolicy",
        service="iam",
        create=Step(
            operation="PutRolePolicy", names={"role": "RoleName", "name": "PolicyName", "policy": "PolicyDocument"}
        ),
        update=Step(
            operation="PutRolePolicy", names={"role": "RoleName", "name": "PolicyName", "policy": "PolicyDocument"}
        ),
        id="={role}:{name}",
        delete=(Step(operation="DeleteRolePolicy", fixed={"RoleName": "{role}", "PolicyName": "{name}"}),),
        replaces=frozenset({"role", "name", "namePrefix"}),
        named="name",
        name_limit=128,
    ),
    Kind(
        type="aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        service="iam",
        create=Step(operation="AttachRolePolicy", names={"role": "RoleName"}),
        id="={role}/{policyArn}",
        delete=(Step(operation="DetachRolePolicy", fixed={"RoleName": "{role}", "PolicyArn": "{policyArn}"}),),
        replaces=frozenset({"role", "policyArn"}),
    ),
    Kind(
        type="aws:iam/policy:Policy",
        service="iam",
        create=Step(operation="CreatePolicy", names={"name": "PolicyName", "policy": "PolicyDocument"}),
        record="Policy",
        id="Arn",
        outputs={"arn": "Arn", "policyId": "PolicyId"},
        update=Step(
            operation="CreatePolicyVersion",
            fixed={"PolicyArn": "{id}", "SetAsDefault": True},
            names={"policy": "PolicyDocument"},
            only=frozenset({"policy"}),
        ),
        delete=(Step(operation="DeletePolicy", fixed={"PolicyArn": "{id}"}),),
        replaces=frozenset({"name", "namePrefix", "path", "description"}),
        named="name",
        name_limit=128,
    ),
    Kind(
        type="aws:kms/key:Key",
        service="kms",
        create=Step(operation="CreateKey", names={"customerMasterKeySpec": "KeySpec"}),
        record="KeyMetadata",
        id="KeyId",
        outputs={"arn": "Arn", "keyId": "KeyId"},
        steps=(
            Step(
                operation="EnableKeyRotation",
                fixed={"KeyId": "{id}"},
                only=frozenset({"enableKeyRotation", "rotationPeriodInDays"}),
                when="enableKeyRotation",
                build=_rotation,
            ),
            Step(
                operation="PutKeyPolicy", fixed={"KeyId": "{id}", "PolicyName": "default"}, only=frozenset({"policy"})
            ),
            Step(operation="UpdateKeyDescription", fixed={"KeyId": "{id}"}, only=frozenset({"description"})),
        ),
        delete=lambda cloud, outputs, known: cloud.call(
            "kms",
            "ScheduleKeyDeletion",
            {"KeyId": known["id"], "PendingWindowInDays": int(outputs.get("deletionWindowInDays", 30))},
        ),
        local={"deletionWindowInDays": "decides the deletion's arguments"},
        replaces=frozenset({"keyUsage", "customerMasterKeySpec", "customKeyStoreId", "multiRegion"}),
    ),
    Kind(
        type="aws:kms/alias:Alias",
        service="kms",
        create=Step(operation="CreateAlias", names={"name": "AliasName"}),
        id="={name}",
        outputs={"arn": "=arn:aws:kms:{region}:{account}:{name}"},
        update=Step(operation="UpdateAlias", fixed={"AliasName": "{id}"}, only=frozenset({"targetKeyId"})),
        delete=(Step(operation="DeleteAlias", fixed={"AliasName": "{id}"}),),
        replaces=frozenset({"name", "namePrefix"}),
    ),
    Kind(
        type="aws:secretsmanager/secret:Secret",
        service="secretsmanager",
        create=Step(operation="CreateSecret"),
        id="ARN",
        outputs={"arn": "ARN"},
        optional={"name": "Name"},
        update=Step(operation="UpdateSecret", fixed={"SecretId": "{id}"}, only=_SECRET_UPDATE),
        delete=_delete_secret,
        local={"recoveryWindowInDays": "decides the deletion's arguments"},
        replaces=frozenset({"name", "namePrefix"}),
        named="name",
        name_limit=512,
    ),
    Kind(
        type="aws:secretsmanager/secretVersion:SecretVersion",
        service="secretsmanager",
        create=Step(operation="PutSecretValue"),
        id=lambda record, known: f"{record['ARN']}|{record['VersionId']}",
        outputs={"arn": "ARN", "versionId": "VersionId"},
        # AWS lets nobody take AWSCURRENT from a secret: the real provider leaves the version where it is.
        delete=lambda cloud, outputs, known: None,
        replaces=frozenset({"secretId", "secretString", "secretBinary"}),
    ),
    Kind(
        type="aws:s3/bucket:Bucket",
        service="s3",
        create=_bucket,
        tagged=True,
        id="",
        delete=_delete_bucket,
        local={"forceDestroy": "how the provider deletes"},
        replaces=frozenset({"bucket", "bucketPrefix", "objectLockEnabled"}),
        named="bucket",
        name_limit=63,
    ),
    *_bucket_part(
        "bucketVersioning",
        "PutBucketVersioning",
        None,
        {"versioningConfiguration": "VersioningConfiguration", "versioningConfiguration.mfaDelete": "MFADelete"},
        also=("bucketVersioningV2",),
    ),
    *_bucket_part(
        "bucketReplicationConfig",
        "PutBucketReplication",
        "DeleteBucketReplication",
        {"role": "ReplicationConfiguration.Role", "rules": "ReplicationConfiguration.Rules", "rules.id": "ID"},
    ),
    *_bucket_part(
        "bucketServerSideEncryptionConfiguration",
        "PutBucketEncryption",
        "DeleteBucketEncryption",
        {
            "rules": "ServerSideEncryptionConfiguration.Rules",
            "rules.applyServerSideEncryptionByDefault.sseAlgorithm": "SSEAlgorithm",
            "rules.applyServerSideEncryptionByDefault.kmsMasterKeyId": "KMSMasterKeyID",
        },
        also=("bucketServerSideEncryptionConfigurationV2",),
    ),
    *_bucket_part(
        "bucketPublicAccessBlock",
        "PutPublicAccessBlock",
        "DeletePublicAccessBlock",
        {
            name: f"PublicAccessBlockConfiguration.{name[0].upper()}{name[1:]}"
            for name in ("blockPublicAcls", "ignorePublicAcls", "blockPublicPolicy", "restrictPublicBuckets")
        }
        | {"skipDestroy": ""},
    ),
    *_bucket_part("bucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy", {}),
    *_bucket_part(
        "bucketOwnershipControls",
        "PutBucketOwnershipControls",
        "DeleteBucketOwnershipControls",
        {"rule": "OwnershipControls.Rules"},
    ),
    *_bucket_part(
        "bucketLifecycleConfiguration",
        "PutBucketLifecycleConfiguration",
        "DeleteBucketLifecycle",
        {"rules": "LifecycleConfiguration"},
        also=("bucketLifecycleConfigurationV2",),
        convert={"rules": _lifecycle},
    ),
    Kind(
        type="aws:cloudwatch/logGroup:LogGroup",
        service="logs",
        create=Step(operation="CreateLogGroup", names={"name": "logGroupName"}),
        id="={name}",
        outputs={"arn": "=arn:aws:logs:{region}:{account}:log-group:{name}"},
        steps=(
            Step(
                operation="PutRetentionPolicy",
                fixed={"logGroupName": "{id}"},
                only=frozenset({"retentionInDays"}),
            ),
            Step(
                operation="AssociateKmsKey",
                fixed={"logGroupName": "{id}"},
                only=frozenset({"kmsKeyId"}),
            ),
        ),
        delete=_delete_log_group,
        local={"skipDestroy": "keeps the group at deletion"},
        replaces=frozenset({"name", "namePrefix", "logGroupClass"}),
        named="name",
        name_limit=512,
    ),
    Kind(
        type="aws:cloudwatch/logMetricFilter:LogMetricFilter",
        service="logs",
        create=Step(
            operation="PutMetricFilter",
            names={
                "name": "filterName",
                "pattern": "filterPattern",
                "metricTransformation": "metricTransformations",
                "metricTransformation.name": "metricName",
                "metricTransformation.namespace": "metricNamespace",
                "metricTransformation.value": "metricValue",
            },
        ),
        update=Step(
            operation="PutMetricFilter",
            names={
                "name": "filterName",
                "pattern": "filterPattern",
                "metricTransformation": "metricTransformations",
                "metricTransformation.name": "metricName",
                "metricTransformation.namespace": "metricNamespace",
                "metricTransformation.value": "metricValue",
            },
        ),
        id="={name}",
        delete=(
            Step(operation="DeleteMetricFilter", fixed={"logGroupName": "{logGroupName}", "filterName": "{name}"}),
        ),
        replaces=frozenset({"name", "logGroupName"}),
        named="name",
        name_limit=512,
    ),
    Kind(
        type="aws:cloudwatch/logResourcePolicy:LogResourcePolicy",
        service="logs",
        create=Step(operation="PutResourcePolicy"),
        update=Step(operation="PutResourcePolicy"),
        id="={policyName}",
        delete=(Step(operation="DeleteResourcePolicy", fixed={"policyName": "{policyName}"}),),
        replaces=frozenset({"policyName"}),
    ),
    Kind(
        type="aws:cloudwatch/metricAlarm:MetricAlarm",
        service="cloudwatch",
        create=_ALARM,
        update=_ALARM,
        id="={name}",
        outputs={"arn": "=arn:aws:cloudwatch:{region}:{account}:alarm:{name}"},
        delete=(Step(operation="DeleteAlarms", fixed={"AlarmNames": ["{id}"]}),),
        replaces=frozenset({"name"}),
        named="name",
    ),
    Kind(
        type="aws:cloudwatch/compositeAlarm:CompositeAlarm",
        service="cloudwatch",
        create=_COMPOSITE,
        update=_COMPOSITE,
        id="={alarmName}",
        outputs={"arn": "=arn:aws:cloudwatch:{region}:{account}:alarm:{alarmName}"},
        delete=(Step(operation="DeleteAlarms", fixed={"AlarmNames": ["{id}"]}),),
        replaces=frozenset({"alarmName"}),
    ),
    Kind(
        type="aws:cloudwatch/dashboard:Dashboard",
        service="cloudwatch",
        create=Step(operation="PutDashboard", names={"tags": ""}),
        update=Step(operation="PutDashboard", names={"tags": ""}),
        id="={dashboardName}",
        outputs={"dashboardArn": "=arn:aws:cloudwatch::{account}:dashboard/{dashboardName}"},
        delete=(Step(operation="DeleteDashboards", fixed={"DashboardNames": ["{id}"]}),),
        replaces=frozenset({"dashboardName"}),
    ),
    Kind(
        type="aws:cloudwatch/eventRule:EventRule",
        service="events",
        create=_RULE,
        update=_RULE,
        id="={name}",
        outputs={"arn": "RuleArn"},
        delete=(Step(operation="DeleteRule", fixed={"Name": "{id}"}),),
        replaces=frozenset({"name", "namePrefix", "eventBusName"}),
        named="name",
        name_limit=64,
    ),
    Kind(
        type="aws:cloudwatch/eventTarget:EventTarget",
        service="events",
        create=Step(
            operation="PutTargets",
            only=frozenset({*_TARGET_NAMES, "rule", "inputTransformer", "deadLetterConfig", "retryPolicy"}),
            build=_target,
        ),
        update=Step(
            operation="PutTargets",
            only=frozenset({*_TARGET_NAMES, "inputTransformer", "deadLetterConfig", "retryPolicy"}),
            build=_target,
        ),
        id="={rule}-{targetId}",
        delete=(Step(operation="RemoveTargets", fixed={"Rule": "{rule}", "Ids": ["{targetId}"]}),),
        replaces=frozenset({"rule", "targetId", "eventBusName"}),
        named="targetId",
        name_limit=64,
    ),
    Kind(
        type="aws:sns/topic:Topic",
        service="sns",
        create=Step(operation="CreateTopic", names={"policy": ""}),
        id="TopicArn",
        outputs={"arn": "TopicArn"},
        steps=tuple(_topic_attribute(name, attribute) for name, attribute in _TOPIC_ATTRIBUTES.items()),
        delete=(Step(operation="DeleteTopic", fixed={"TopicArn": "{id}"}),),
        replaces=frozenset({"name", "namePrefix", "fifoTopic"}),
        named="name",
        name_limit=256,
    ),
    Kind(
        type="aws:sns/topicPolicy:TopicPolicy",
        service="sns",
        create=Step(
            operation="SetTopicAttributes",
            fixed={"AttributeName": "Policy"},
            only=frozenset({"arn", "policy"}),
            build=lambda inputs: {"TopicArn": inputs["arn"], "AttributeValue": inputs["policy"]},
        ),
        update=Step(
            operation="SetTopicAttributes",
            fixed={"AttributeName": "Policy"},
            only=frozenset({"policy"}),
            build=lambda inputs: {"TopicArn": inputs["arn"], "AttributeValue": inputs["policy"]},
        ),
        id="={arn}",
        replaces=frozenset({"arn"}),
    ),
    Kind(
        type="aws:sns/topicSubscription:TopicSubscription",
        service="sns",
        create=Step(
            operation="Subscribe",
            only=frozenset(
                {
                    *("topic", "protocol", "endpoint", "rawMessageDelivery", "filterPolicy", "redrivePolicy"),
                    "deliveryPolicy",
                }
            ),
            build=_subscribe,
        ),
        id="SubscriptionArn",
        outputs={"arn": "SubscriptionArn"},
        delete=_delete_subscription,
        local={
            "endpointAutoConfirms": "how the provider waits",
            "confirmationTimeoutInMinutes": "how the provider waits",
        },
        replaces=frozenset({"topic", "protocol", "endpoint"}),
    ),
    Kind(
        type="aws:scheduler/scheduleGroup:ScheduleGroup",
        service="scheduler",
        create=Step(operation="CreateScheduleGroup"),
        id="={name}",
        outputs={"arn": "ScheduleGroupArn"},
        delete=(Step(operation="DeleteScheduleGroup", fixed={"Name": "{id}"}),),
        replaces=frozenset({"name", "namePrefix"}),
        named="name",
        name_limit=64,
    ),
    Kind(
        type="aws:scheduler/schedule:Schedule",
        service="scheduler",
        create=Step(operation="CreateSchedule", convert={"target": _schedule}),
        update=Step(operation="UpdateSchedule", convert={"target": _schedule}),
        id="=default/{name}",
        outputs={"arn": "ScheduleArn"},
        delete=(Step(operation="DeleteSchedule", fixed={"Name": "{name}", "GroupName": "{groupName}"}),),
        replaces=frozenset({"name", "namePrefix", "groupName"}),
        named="name",
        name_limit=64,
    ),
    Kind(
        type="aws:budgets/budget:Budget",
        service="budgets",
        tagged=True,
        create=Step(operation="CreateBudget", fixed={"AccountId": "{account}"}, only=_BUDGET, build=_create_budget),
        update=Step(
            operation="UpdateBudget",
            fixed={"AccountId": "{account}"},
            only=_BUDGET - {"notifications", "name"},
            build=lambda inputs: {"NewBudget": _budget(inputs)},
        ),
        id="={account}:{name}",
        delete=(Step(operation="DeleteBudget", fixed={"AccountId": "{account}", "BudgetName": "{name}"}),),
        replaces=frozenset({"name", "namePrefix"}),
        named="name",
        name_limit=100,
    ),
)
