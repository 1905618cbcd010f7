"""RDS, ElastiCache, Backup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emulator.mapping import Kind, Step

if TYPE_CHECKING:
    from emulator.cloud import Cloud

_INSTANCE_NAMES = {
    "identifier": "DBInstanceIdentifier",
    "instanceClass": "DBInstanceClass",
    "username": "MasterUsername",
    "password": "MasterUserPassword",
    "parameterGroupName": "DBParameterGroupName",
    "kmsKeyId": "KmsKeyId",
    "backupWindow": "PreferredBackupWindow",
    "maintenanceWindow": "PreferredMaintenanceWindow",
    "caCertIdentifier": "CACertificateIdentifier",
    "iamDatabaseAuthenticationEnabled": "EnableIAMDatabaseAuthentication",
    "performanceInsightsEnabled": "EnablePerformanceInsights",
    "enabledCloudwatchLogsExports": "EnableCloudwatchLogsExports",
}
_INSTANCE_LOCAL = {
    "skipFinalSnapshot": "decides the deletion's arguments",
    "finalSnapshotIdentifier": "decides the deletion's arguments",
    "deleteAutomatedBackups": "decides the deletion's arguments",
    "applyImmediately": "when a change begins; moto changes at once",
    "allowMajorVersionUpgrade": "belongs to changes",
    "blueGreenUpdate": "how the real provider carries out changes",
    "replicateSourceDb": "source of a replica",
    "snapshotIdentifier": "source of a restore",
    "restoreToPointInTime": "source of a restore",
}


def _create_instance(cloud: Cloud, inputs: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    fixed: dict[str, Any] = {}
    name = "CreateDBInstance"
    left = dict(inputs)
    if inputs.get("replicateSourceDb"):
        name, fixed = "CreateDBInstanceReadReplica", {"SourceDBInstanceIdentifier": inputs["replicateSourceDb"]}
        for key in ("engine", "engineVersion", "username", "dbName"):
            left.pop(key, None)
    elif inputs.get("snapshotIdentifier"):
        name, fixed = "RestoreDBInstanceFromDBSnapshot", {"DBSnapshotIdentifier": inputs["snapshotIdentifier"]}
    elif inputs.get("restoreToPointInTime"):
        name = "RestoreDBInstanceToPointInTime"
        source = inputs["restoreToPointInTime"]
        fixed = {
            "SourceDBInstanceIdentifier": source.get("sourceDbInstanceIdentifier"),
            "TargetDBInstanceIdentifier": inputs["identifier"],
            "UseLatestRestorableTime": source.get("useLatestRestorableTime"),
            "RestoreTime": source.get("restoreTime"),
            "SourceDbiResourceId": source.get("sourceDbiResourceId"),
        }
        left.pop("identifier")
    step = Step(operation=name, names=_INSTANCE_NAMES if name == "CreateDBInstance" else _names_of(name), fixed=fixed)
    arguments = step.arguments("rds", {**left, "tags": inputs.get("tagsAll")}, known)
    cloud.call("rds", name, arguments)
    later = Step(operation="ModifyDBInstance", names=_names_of("ModifyDBInstance"))
    if name != "CreateDBInstance":
        # A restore takes few arguments: the real provider sets the others by a change afterwards.
        rest = {key: value for key, value in left.items() if not step.takes("rds", key) and key != "password"}
        changes = later.arguments("rds", rest, known)
        changes.pop("DBInstanceIdentifier", None)
        if changes:
            params = {"DBInstanceIdentifier": inputs["identifier"], "ApplyImmediately": True, **changes}
            cloud.call("rds", "ModifyDBInstance", params)
    return inputs["identifier"], _instance_outputs(cloud, inputs["identifier"])


def _names_of(operation: str) -> dict[str, str]:
    from emulator.model import operation as find

    shape = find("rds", operation).input_shape
    # A name that the call does not have is left out: `takes` then says no.
    return {key: value if value in shape.members else "" for key, value in _INSTANCE_NAMES.items()}


def _instance_outputs(cloud: Cloud, identifier: str) -> dict[str, Any]:
    found = cloud.call("rds", "DescribeDBInstances", {"DBInstanceIdentifier": identifier})["DBInstances"][0]
    endpoint = found["Endpoint"]
    secret = found.get("MasterUserSecret")
    return {
        "arn": found["DBInstanceArn"],
        "address": endpoint["Address"],
        "port": endpoint["Port"],
        "endpoint": f"{endpoint['Address']}:{endpoint['Port']}",
        "hostedZoneId": endpoint.get("HostedZoneId", "Z1RLNUO7B9Q6NB"),
        "resourceId": found["DbiResourceId"],
        "identifier": identifier,
        "engineVersionActual": found["EngineVersion"],
        "status": found["DBInstanceStatus"],
        "masterUserSecrets": [
            {"secretArn": secret["SecretArn"], "secretStatus": "active", "kmsKeyId": secret.get("KmsKeyId", "")}
        ]
        if secret
        else [],
    }


def _update_instance(
    cloud: Cloud, inputs: Mapping[str, Any], known: Mapping[str, Any], changed: set[str]
) -> Mapping[str, Any]:
    names = _names_of("ModifyDBInstance")
    step = Step(operation="ModifyDBInstance", names=names)
    wanted = {key: inputs.get(key) for key in changed if key not in _INSTANCE_LOCAL and key not in ("tags", "tagsAll")}
    if "enabledCloudwatchLogsExports" in wanted:
        old = set(known["old"].get("enabledCloudwatchLogsExports") or [])
        new = set(wanted.pop("enabledCloudwatchLogsExports") or [])
        logs = {"EnableLogTypes": sorted(new - old), "DisableLogTypes": sorted(old - new)}
    else:
        logs = None
    renamed = {"NewDBInstanceIdentifier": wanted.pop("identifier")} if "identifier" in wanted else {}
    untaken = [key for key in wanted if not step.takes("rds", key)]
    if untaken:
        raise ValueError(f"ModifyDBInstance does not take {', '.join(sorted(untaken))}")
    arguments = {**step.arguments("rds", wanted, known), **renamed}
    if logs:
        arguments["CloudwatchLogsExportConfiguration"] = logs
    if arguments:
        now = bool(inputs.get("applyImmediately"))
        cloud.call(
            "rds",
            "ModifyDBInstance",
            {"DBInstanceIdentifier": known["old"]["identifier"], "ApplyImmediately": now or bool(renamed), **arguments},
        )
    return _instance_outputs(cloud, inputs["identifier"])


def _delete_instance(cloud: Cloud, outputs: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    skip = bool(outputs.get("skipFinalSnapshot"))
    params: dict[str, Any] = {"DBInstanceIdentifier": outputs["identifier"], "SkipFinalSnapshot": skip}
    if not skip and not outputs.get("replicateSourceDb"):
        if not outputs.get("finalSnapshotIdentifier"):
            raise ValueError("finalSnapshotIdentifier is required when skipFinalSnapshot is false")
        params["FinalDBSnapshotIdentifier"] = outputs["finalSnapshotIdentifier"]
    if "deleteAutomatedBackups" in outputs:
        params["DeleteAutomatedBackups"] = outputs["deleteAutomatedBackups"]
    cloud.call("rds", "DeleteDBInstance", params)


class _InstanceKind(Kind):
    """Its creation picks one of four calls: what a property may be is what any of them takes."""

    def covers(self, name: str) -> bool:
        steps = (
            Step(operation="CreateDBInstance", names=_INSTANCE_NAMES),
            Step(operation="ModifyDBInstance", names=_names_of("ModifyDBInstance")),
        )
        return super().covers(name) or any(step.takes("rds", name) for step in steps)


def _parameters(values: Any) -> list[dict[str, Any]]:
    return [
        {
            "ParameterName": item["name"],
            "ParameterValue": str(item["value"]),
            "ApplyMethod": item.get("applyMethod", "immediate"),
        }
        for item in values
    ]


def _cache_parameters(values: Any) -> list[dict[str, Any]]:
    return [{"ParameterName": item["name"], "ParameterValue": str(item["value"])} for item in values]


_GROUP_NAMES = {
    "numCacheClusters": "NumCacheClusters",
    "replicationGroupId": "ReplicationGroupId",
    "description": "ReplicationGroupDescription",
    "nodeType": "CacheNodeType",
    "parameterGroupName": "CacheParameterGroupName",
    "subnetGroupName": "CacheSubnetGroupName",
    "securityGroupNames": "CacheSecurityGroupNames",
    "maintenanceWindow": "PreferredMaintenanceWindow",
    "multiAzEnabled": "MultiAZEnabled",
    "preferredCacheClusterAzs": "PreferredCacheClusterAZs",
    "finalSnapshotIdentifier": "",
}


def _log_delivery(values: Any) -> list[dict[str, Any]]:
    made = []
    for item in values:
        extra = set(item) - {"destination", "destinationType", "logFormat", "logType"}
        if extra or item["destinationType"] != "cloudwatch-logs":
            raise ValueError(f"logDeliveryConfigurations: not known here: {item}")
        made.append(
            {
                "LogType": item["logType"],
                "LogFormat": item["logFormat"],
                "DestinationType": item["destinationType"],
                "DestinationDetails": {"CloudWatchLogsDetails": {"LogGroup": item["destination"]}},
                "Enabled": True,
            }
        )
    return made


_GROUP_CONVERT = {"logDeliveryConfigurations": _log_delivery}


def _group_update(
    cloud: Cloud, inputs: Mapping[str, Any], known: Mapping[str, Any], changed: set[str]
) -> Mapping[str, Any]:
    left = changed - {"tags", "tagsAll", "applyImmediately", "finalSnapshotIdentifier"}
    if "numCacheClusters" in left:
        cloud.call(
            "elasticache",
            "IncreaseReplicaCount"
            if inputs["numCacheClusters"] > known["old"]["numCacheClusters"]
            else "DecreaseReplicaCount",
            {
                "ReplicationGroupId": known["id"],
                "NewReplicaCount": int(inputs["numCacheClusters"]) - 1,
                "ApplyImmediately": True,
            },
        )
        left.remove("numCacheClusters")
    names = {name: member for name, member in _GROUP_NAMES.items() if name in _MODIFIED}
    step = Step(operation="ModifyReplicationGroup", names=names, convert=_GROUP_CONVERT)
    wanted: dict[str, Any] = {}
    if "userGroupIds" in left:
        old, new = set(known["old"].get("userGroupIds") or []), set(inputs.get("userGroupIds") or [])
        wanted = {"UserGroupIdsToAdd": sorted(new - old), "UserGroupIdsToRemove": sorted(old - new)}
        wanted = {key: value for key, value in wanted.items() if value}
        left.remove("userGroupIds")
    untaken = [name for name in left if not step.takes("elasticache", name)]
    if untaken:
        raise ValueError(f"ModifyReplicationGroup does not take {', '.join(sorted(untaken))}")
    wanted |= step.arguments("elasticache", {name: inputs.get(name) for name in left}, known)
    if wanted:
        now = bool(inputs.get("applyImmediately"))
        params = {"ReplicationGroupId": known["id"], "ApplyImmediately": now, **wanted}
        cloud.call("elasticache", "ModifyReplicationGroup", params)
    return {}


_MODIFIED = ("description", "nodeType", "parameterGroupName", "maintenanceWindow", "multiAzEnabled")


def _update_user_group(
    cloud: Cloud, inputs: Mapping[str, Any], known: Mapping[str, Any], changed: set[str]
) -> Mapping[str, Any]:
    old, new = set(known["old"].get("userIds") or []), set(inputs.get("userIds") or [])
    steps = {"UserIdsToAdd": sorted(new - old), "UserIdsToRemove": sorted(old - new)}
    given: dict[str, Any] = {key: value for key, value in steps.items() if value}
    if "engine" in changed:
        given["Engine"] = inputs["engine"]
    if given:
        cloud.call("elasticache", "ModifyUserGroup", {"UserGroupId": known["id"], **given})
    return {}


def _delete_group(cloud: Cloud, outputs: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    last = outputs.get("finalSnapshotIdentifier")
    params = {"ReplicationGroupId": known["id"], **({"FinalSnapshotIdentifier": last} if last else {})}
    cloud.call("elasticache", "DeleteReplicationGroup", params)


def _is_lower(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    before, after = (
        tuple(int(part) for part in str(inputs.get("engineVersion") or "0").split(".")) for inputs in (old, new)
    )
    return after < before


def _leaves_valkey(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """From Redis to Valkey there is a way in place, back there is none."""
    return old.get("engine") == "valkey" and new.get("engine") != "valkey"


_USER_AUTH = {"authenticationMode.type": "Type", "authenticationMode.passwords": "Passwords"}

KINDS = (
    _InstanceKind(
        type="aws:rds/instance:Instance",
        service="rds",
        create=_create_instance,
        tagged=True,
        update=_update_instance,
        delete=_delete_instance,
        id="",
        local=_INSTANCE_LOCAL,
        named="identifier",
        name_limit=63,
        prefix="identifier",
        replaces=frozenset(
            {
                *("engine", "username", "dbName", "storageEncrypted", "kmsKeyId", "availabilityZone"),
                *(
                    "snapshotIdentifier",
                    "restoreToPointInTime",
                    "characterSetName",
                    "ncharCharacterSetName",
                    "timezone",
                ),
                "customIamInstanceProfile",
                "backupTarget",
            }
        ),
    ),
    Kind(
        type="aws:rds/subnetGroup:SubnetGroup",
        service="rds",
        create=Step(
            operation="CreateDBSubnetGroup",
            names={"name": "DBSubnetGroupName", "description": "DBSubnetGroupDescription"},
        ),
        id="DBSubnetGroup.DBSubnetGroupName",
        outputs={"arn": "=arn:aws:rds:{region}:{account}:subgrp:{name}"},
        update=Step(
            operation="ModifyDBSubnetGroup",
            fixed={"DBSubnetGroupName": "{id}"},
            names={"description": "DBSubnetGroupDescription"},
            only=frozenset({"description", "subnetIds"}),
        ),
        delete=(Step(operation="DeleteDBSubnetGroup", fixed={"DBSubnetGroupName": "{id}"}),),
        replaces=frozenset({"name", "namePrefix"}),
        named="name",
        defaults={"description": "Managed by Pulumi"},
    ),
    Kind(
        type="aws:rds/parameterGroup:ParameterGroup",
        service="rds",
        create=Step(
            operation="CreateDBParameterGroup",
            names={"name": "DBParameterGroupName", "family": "DBParameterGroupFamily", "parameters": ""},
        ),
        id="DBParameterGroup.DBParameterGroupName",
        outputs={"arn": "=arn:aws:rds:{region}:{account}:pg:{name}"},
        steps=(
            Step(
                operation="ModifyDBParameterGroup",
                fixed={"DBParameterGroupName": "{id}"},
                names={"parameters": "Parameters"},
                only=frozenset({"parameters"}),
                convert={"parameters": _parameters},
            ),
        ),
        delete=(Step(operation="DeleteDBParameterGroup", fixed={"DBParameterGroupName": "{id}"}),),
        replaces=frozenset({"name", "namePrefix", "family", "description"}),
        local={"skipDestroy": "keeps the group at deletion"},
        named="name",
        defaults={"description": "Managed by Pulumi"},
    ),
    Kind(
        type="aws:elasticache/subnetGroup:SubnetGroup",
        service="elasticache",
        create=Step(
            operation="CreateCacheSubnetGroup",
            names={"name": "CacheSubnetGroupName", "description": "CacheSubnetGroupDescription"},
        ),
        id="CacheSubnetGroup.CacheSubnetGroupName",
        optional={"arn": "=arn:aws:elasticache:{region}:{account}:subnetgroup:{name}"},
        update=Step(
            operation="ModifyCacheSubnetGroup",
            fixed={"CacheSubnetGroupName": "{id}"},
            names={"description": "CacheSubnetGroupDescription"},
            only=frozenset({"description", "subnetIds"}),
        ),
        delete=(Step(operation="DeleteCacheSubnetGroup", fixed={"CacheSubnetGroupName": "{id}"}),),
        replaces=frozenset({"name"}),
        named="name",
        defaults={"description": "Managed by Pulumi"},
    ),
    Kind(
        type="aws:elasticache/parameterGroup:ParameterGroup",
        service="elasticache",
        create=Step(
            operation="CreateCacheParameterGroup",
            names={"name": "CacheParameterGroupName", "family": "CacheParameterGroupFamily", "parameters": ""},
        ),
        id="CacheParameterGroup.CacheParameterGroupName",
        outputs={"arn": "CacheParameterGroup.ARN"},
        steps=(
            Step(
                operation="ModifyCacheParameterGroup",
                fixed={"CacheParameterGroupName": "{id}"},
                names={"parameters": "ParameterNameValues"},
                only=frozenset({"parameters"}),
                convert={"parameters": _cache_parameters},
            ),
        ),
        delete=(Step(operation="DeleteCacheParameterGroup", fixed={"CacheParameterGroupName": "{id}"}),),
        replaces=frozenset({"name", "family", "description"}),
        named="name",
        defaults={"description": "Managed by Pulumi"},
    ),
    Kind(
        type="aws:elasticache/user:User",
        service="elasticache",
        create=Step(operation="CreateUser", names=_USER_AUTH),
        id="UserId",
        outputs={"arn": "ARN"},
        update=Step(
            operation="ModifyUser",
            fixed={"UserId": "{id}"},
            names={**_USER_AUTH, "userId": ""},
        ),
        delete=(Step(operation="DeleteUser", fixed={"UserId": "{id}"}),),
        replaces=frozenset({"userId", "userName"}),
    ),
    Kind(
        type="aws:elasticache/userGroup:UserGroup",
        service="elasticache",
        create=Step(operation="CreateUserGroup"),
        id="UserGroupId",
        outputs={"arn": "ARN"},
        update=_update_user_group,
        delete=(Step(operation="DeleteUserGroup", fixed={"UserGroupId": "{id}"}),),
        replaces=frozenset({"userGroupId"}),
    ),
    Kind(
        type="aws:elasticache/replicationGroup:ReplicationGroup",
        service="elasticache",
        create=Step(operation="CreateReplicationGroup", names=_GROUP_NAMES, convert=_GROUP_CONVERT),
        record="ReplicationGroup",
        id="ReplicationGroupId",
        outputs={
            "arn": "=arn:aws:elasticache:{region}:{account}:replicationgroup:{id}",
            "primaryEndpointAddress": "=master.{id}.abc123.euc1.cache.amazonaws.com",
            "readerEndpointAddress": "=replica.{id}.abc123.euc1.cache.amazonaws.com",
        },
        optional={"memberClusters": "MemberClusters"},
        update=_group_update,
        delete=_delete_group,
        local={
            "applyImmediately": "when a change begins",
            "finalSnapshotIdentifier": "decides the deletion's arguments",
        },
        replaces=frozenset(
            {
                *("replicationGroupId", "subnetGroupName", "port", "atRestEncryptionEnabled", "kmsKeyId"),
                *("dataTieringEnabled", "networkType", "snapshotArns", "snapshotName", "securityGroupNames"),
                "globalReplicationGroupId",
            }
        ),
        replaces_when={"engine": _leaves_valkey, "engineVersion": _is_lower},
        named="replicationGroupId",
        name_limit=40,
    ),
    Kind(
        type="aws:backup/vault:Vault",
        service="backup",
        create=Step(
            operation="CreateBackupVault",
            names={"name": "BackupVaultName", "kmsKeyArn": "EncryptionKeyArn", "tags": "BackupVaultTags"},
        ),
        id="BackupVaultName",
        outputs={"arn": "BackupVaultArn"},
        delete=(Step(operation="DeleteBackupVault", fixed={"BackupVaultName": "{id}"}),),
        replaces=frozenset({"name", "kmsKeyArn"}),
        local={"forceDestroy": "empties the vault at deletion"},
        named="name",
        name_limit=50,
    ),
    Kind(
        type="aws:backup/vaultNotifications:VaultNotifications",
        service="backup",
        create=Step(operation="PutBackupVaultNotifications"),
        id="={backupVaultName}",
        delete=(Step(operation="DeleteBackupVaultNotifications", fixed={"BackupVaultName": "{id}"}),),
        replaces=frozenset({"backupVaultName", "snsTopicArn", "backupVaultEvents"}),
    ),
    Kind(
        type="aws:backup/vaultPolicy:VaultPolicy",
        service="backup",
        create=Step(operation="PutBackupVaultAccessPolicy"),
        update=Step(operation="PutBackupVaultAccessPolicy"),
        id="={backupVaultName}",
        delete=(Step(operation="DeleteBackupVaultAccessPolicy", fixed={"BackupVaultName": "{id}"}),),
        replaces=frozenset({"backupVaultName"}),
    ),
    Kind(
        type="aws:backup/vaultLockConfiguration:VaultLockConfiguration",
        service="backup",
        create=Step(operation="PutBackupVaultLockConfiguration"),
        id="={backupVaultName}",
        delete=(Step(operation="DeleteBackupVaultLockConfiguration", fixed={"BackupVaultName": "{id}"}),),
        replaces=frozenset({"backupVaultName", "minRetentionDays", "maxRetentionDays", "changeableForDays"}),
    ),
    Kind(
        type="aws:backup/plan:Plan",
        service="backup",
        create=Step(
            operation="CreateBackupPlan",
            names={
                "name": "BackupPlan.BackupPlanName",
                "rules": "BackupPlan.Rules",
                "rules.targetVaultName": "TargetBackupVaultName",
                "rules.schedule": "ScheduleExpression",
                "rules.startWindow": "StartWindowMinutes",
                "rules.completionWindow": "CompletionWindowMinutes",
                "rules.lifecycle.deleteAfter": "DeleteAfterDays",
                "rules.lifecycle.coldStorageAfter": "MoveToColdStorageAfterDays",
                "rules.copyActions.lifecycle.deleteAfter": "DeleteAfterDays",
                "advancedBackupSettings": "BackupPlan.AdvancedBackupSettings",
                "tags": "BackupPlanTags",
            },
        ),
        id="BackupPlanId",
        outputs={"arn": "BackupPlanArn", "version": "VersionId"},
        update=Step(
            operation="UpdateBackupPlan",
            fixed={"BackupPlanId": "{id}"},
            names={
                "name": "BackupPlan.BackupPlanName",
                "rules": "BackupPlan.Rules",
                "rules.targetVaultName": "TargetBackupVaultName",
                "rules.schedule": "ScheduleExpression",
                "rules.startWindow": "StartWindowMinutes",
                "rules.completionWindow": "CompletionWindowMinutes",
                "rules.lifecycle.deleteAfter": "DeleteAfterDays",
                "rules.lifecycle.coldStorageAfter": "MoveToColdStorageAfterDays",
            },
        ),
        delete=(Step(operation="DeleteBackupPlan", fixed={"BackupPlanId": "{id}"}),),
        replaces=frozenset({"name"}),
        named="name",
        name_limit=50,
    ),
    Kind(
        type="aws:backup/selection:Selection",
        service="backup",
        create=Step(
            operation="CreateBackupSelection",
            names={
                "planId": "BackupPlanId",
                "name": "BackupSelection.SelectionName",
                "iamRoleArn": "BackupSelection.IamRoleArn",
                "resources": "BackupSelection.Resources",
                "notResources": "BackupSelection.NotResources",
            },
        ),
        id="SelectionId",
        delete=(Step(operation="DeleteBackupSelection", fixed={"BackupPlanId": "{planId}", "SelectionId": "{id}"}),),
        replaces=frozenset({"planId", "name", "iamRoleArn", "resources", "notResources"}),
        named="name",
        name_limit=50,
    ),
    Kind(
        type="aws:backup/restoreTestingPlan:RestoreTestingPlan",
        service="backup",
        create=Step(
            operation="CreateRestoreTestingPlan",
            names={
                "name": "RestoreTestingPlan.RestoreTestingPlanName",
                "scheduleExpression": "RestoreTestingPlan.ScheduleExpression",
                "scheduleExpressionTimezone": "RestoreTestingPlan.ScheduleExpressionTimezone",
                "startWindowHours": "RestoreTestingPlan.StartWindowHours",
                "recoveryPointSelection": "RestoreTestingPlan.RecoveryPointSelection",
            },
        ),
        id="RestoreTestingPlanName",
        outputs={"arn": "RestoreTestingPlanArn"},
        update=Step(
            operation="UpdateRestoreTestingPlan",
            fixed={"RestoreTestingPlanName": "{id}"},
            names={
                "scheduleExpression": "RestoreTestingPlan.ScheduleExpression",
                "scheduleExpressionTimezone": "RestoreTestingPlan.ScheduleExpressionTimezone",
                "startWindowHours": "RestoreTestingPlan.StartWindowHours",
                "recoveryPointSelection": "RestoreTestingPlan.RecoveryPointSelection",
            },
        ),
        delete=(Step(operation="DeleteRestoreTestingPlan", fixed={"RestoreTestingPlanName": "{id}"}),),
        replaces=frozenset({"name"}),
    ),
    Kind(
        type="aws:backup/restoreTestingSelection:RestoreTestingSelection",
        service="backup",
        create=Step(
            operation="CreateRestoreTestingSelection",
            names={
                "name": "RestoreTestingSelection.RestoreTestingSelectionName",
                "iamRoleArn": "RestoreTestingSelection.IamRoleArn",
                "protectedResourceType": "RestoreTestingSelection.ProtectedResourceType",
                "protectedResourceArns": "RestoreTestingSelection.ProtectedResourceArns",
                "protectedResourceConditions": "RestoreTestingSelection.ProtectedResourceConditions",
                "restoreMetadataOverrides": "RestoreTestingSelection.RestoreMetadataOverrides",
                "validationWindowHours": "RestoreTestingSelection.ValidationWindowHours",
            },
        ),
        id="={restoreTestingPlanName}:{name}",
        delete=(
            Step(
                operation="DeleteRestoreTestingSelection",
                fixed={
                    "RestoreTestingPlanName": "{restoreTestingPlanName}",
                    "RestoreTestingSelectionName": "{name}",
                },
            ),
        ),
        replaces=frozenset({"name", "restoreTestingPlanName", "protectedResourceType"}),
    ),
)
