"""What moto lacks: operations answered here. Requests and answers are held to the service model like all others.

`docs/aws/emulation.md` is made from this table.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from emulator.cloud import Cloud

Params = Mapping[str, Any]
Store = dict[tuple[str, str], dict[str, Any]]
"""What the stand-ins keep, by kind of thing and its name."""


class Refused(Exception):
    """The pretended service says no."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class StandIn:
    answer: Callable[[Cloud, Params], dict[str, Any] | None]
    what: str
    """For the reader of the documents: what it does, and what it leaves out."""


TABLE: Final[dict[tuple[str, str], StandIn]] = {}


def stand_in(service: str, operation: str, what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        TABLE[(service, operation)] = StandIn(function, what)
        return function

    return add


def _make(cloud: Cloud, kind: str, name: str, value: dict[str, Any], code: str) -> dict[str, Any]:
    if (kind, name) in cloud.store:
        raise Refused(code, f"{name} exists already")
    cloud.store[(kind, name)] = value
    return value


def _get(cloud: Cloud, kind: str, name: str, code: str) -> dict[str, Any]:
    if (kind, name) not in cloud.store:
        raise Refused(code, f"{name} does not exist")
    return cloud.store[(kind, name)]


def _arn(cloud: Cloud, service: str, rest: str) -> str:
    return f"arn:aws:{service}:{cloud.region}:123456789012:{rest}"


def _now() -> datetime:
    return datetime.now(UTC)


# ElastiCache


def _group_answer(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if not key.startswith("_")}


@stand_in("elasticache", "CreateCacheParameterGroup", "keeps the group; the family's parameters are not known")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    name = p["CacheParameterGroupName"]
    group = {
        "CacheParameterGroupName": name,
        "CacheParameterGroupFamily": p["CacheParameterGroupFamily"],
        "Description": p["Description"],
        "ARN": _arn(cloud, "elasticache", f"parametergroup:{name}"),
        "_values": {},
    }
    _make(cloud, "cache parameter group", name, group, "CacheParameterGroupAlreadyExists")
    return {"CacheParameterGroup": _group_answer(group)}


@stand_in("elasticache", "ModifyCacheParameterGroup", "keeps the values that were set")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    group = _get(cloud, "cache parameter group", p["CacheParameterGroupName"], "CacheParameterGroupNotFound")
    group["_values"].update({item["ParameterName"]: item["ParameterValue"] for item in p["ParameterNameValues"]})
    return {"CacheParameterGroupName": p["CacheParameterGroupName"]}


@stand_in("elasticache", "DescribeCacheParameters", "tells the values that were set, without the defaults")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    group = _get(cloud, "cache parameter group", p["CacheParameterGroupName"], "CacheParameterGroupNotFound")
    values = sorted(group["_values"].items())
    return {"Parameters": [{"ParameterName": name, "ParameterValue": value} for name, value in values]}


@stand_in("elasticache", "DeleteCacheParameterGroup", "forgets the group")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    _get(cloud, "cache parameter group", p["CacheParameterGroupName"], "CacheParameterGroupNotFound")
    del cloud.store[("cache parameter group", p["CacheParameterGroupName"])]
    return {}


@stand_in("elasticache", "ModifyCacheSubnetGroup", "accepts the change; moto keeps the group as it was")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    return {"CacheSubnetGroup": {"CacheSubnetGroupName": p["CacheSubnetGroupName"]}}


@stand_in("elasticache", "DeleteCacheSubnetGroup", "accepts; moto keeps the group")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    return {}


@stand_in("elasticache", "ModifyUser", "keeps the new passwords' number and the access string; moto's user stays")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    cloud.store[("cache user", p["UserId"])] = dict(p)
    return {"UserId": p["UserId"], "Status": "active"}


@stand_in("elasticache", "CreateUserGroup", "keeps the group; every user in it must exist")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    _users_exist(cloud, p.get("UserIds", []))
    group = {
        "UserGroupId": p["UserGroupId"],
        "Status": "active",
        "Engine": p["Engine"],
        "UserIds": list(p.get("UserIds", [])),
        "ARN": _arn(cloud, "elasticache", f"usergroup:{p['UserGroupId']}"),
    }
    return _make(cloud, "user group", p["UserGroupId"], group, "UserGroupAlreadyExistsFault")


@stand_in("elasticache", "ModifyUserGroup", "adds and removes users, changes the engine")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    group = _get(cloud, "user group", p["UserGroupId"], "UserGroupNotFoundFault")
    _users_exist(cloud, p.get("UserIdsToAdd", []))
    left = [user for user in group["UserIds"] if user not in p.get("UserIdsToRemove", [])]
    group["UserIds"] = [*left, *p.get("UserIdsToAdd", [])]
    group["Engine"] = p.get("Engine", group["Engine"])
    return group


@stand_in("elasticache", "DescribeUserGroups", "tells what the stand-ins keep")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    groups = [value for (kind, _), value in cloud.store.items() if kind == "user group"]
    wanted = p.get("UserGroupId")
    return {"UserGroups": [group for group in groups if wanted in (None, group["UserGroupId"])]}


@stand_in("elasticache", "DeleteUserGroup", "forgets the group")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    group = _get(cloud, "user group", p["UserGroupId"], "UserGroupNotFoundFault")
    del cloud.store[("user group", p["UserGroupId"])]
    return {**group, "Status": "deleting"}


def _users_exist(cloud: Cloud, ids: list[str]) -> None:
    known = {user["UserId"] for user in cloud.client("elasticache").describe_users()["Users"]}
    missing = sorted(set(ids) - known)
    if missing:
        raise Refused("UserNotFound", f"{', '.join(missing)} not found")


# ECS


@stand_in("ecs", "ListServiceDeployments", "tells the deployments that the pretended Fargate has seen")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    deployments = _deployments(cloud, p["service"], p.get("cluster", "default"))
    wanted = p.get("status")
    return {
        "serviceDeployments": [
            {
                "serviceDeploymentArn": item["serviceDeploymentArn"],
                "serviceArn": arn,
                "startedAt": item["at"],
                "createdAt": item["at"],
                "finishedAt": item["at"],
                "targetServiceRevisionArn": item["revision"],
                "status": item["status"],
                **({"statusReason": item["reason"]} if item["reason"] else {}),
            }
            for arn, item in deployments
            if not wanted or item["status"] in wanted
        ]
    }


@stand_in("ecs", "DescribeServiceDeployments", "tells the deployments that the pretended Fargate has seen")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    found = []
    for arn, items in cloud.fargate.deployments.items():
        found += [
            {
                "serviceDeploymentArn": item["serviceDeploymentArn"],
                "serviceArn": arn,
                "createdAt": item["at"],
                "startedAt": item["at"],
                "finishedAt": item["at"],
                "targetServiceRevision": {"arn": item["revision"], "runningTaskCount": 0, "pendingTaskCount": 0},
                "status": item["status"],
                **({"statusReason": item["reason"]} if item["reason"] else {}),
            }
            for item in items
            if item["serviceDeploymentArn"] in p["serviceDeploymentArns"]
        ]
    return {"serviceDeployments": found, "failures": []}


@stand_in("ecs", "DescribeServiceRevisions", "tells the task definition of a deployment's revision")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    found = [
        {"serviceRevisionArn": item["revision"], "serviceArn": arn, "taskDefinition": item["taskDefinition"]}
        for arn, items in cloud.fargate.deployments.items()
        for item in items
        if item["revision"] in p["serviceRevisionArns"]
    ]
    return {"serviceRevisions": found, "failures": []}


_NO_MEMORY = "moto cannot start a task whose containers have no memory of their own, as Fargate can"


@stand_in("ecs", "RunTask", f"starts the task on the pretended Fargate: {_NO_MEMORY}")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    return {"tasks": cloud.fargate.run(p), "failures": []}


@stand_in("ecs", "DescribeTasks", "tells of the tasks of the pretended Fargate")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    known = {arn: cloud.fargate.tasks.get(arn) for arn in p["tasks"]}
    missing = [{"arn": arn, "reason": "MISSING"} for arn, task in known.items() if task is None]
    return {"tasks": [task for task in known.values() if task], "failures": missing}


@stand_in("ecs", "ListTasks", "tells of the tasks of the pretended Fargate, by service, family, starter and state")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    def wanted(task: Mapping[str, Any]) -> bool:
        family = task["taskDefinitionArn"].rsplit("/", 1)[-1].rsplit(":", 1)[0]
        service = str(p.get("serviceName", "")).rsplit("/", 1)[-1]
        return (
            p.get("desiredStatus", "RUNNING") == task["desiredStatus"]
            and p.get("family", family) == family
            and p.get("startedBy", task.get("startedBy")) == task.get("startedBy")
            and (not service or task["group"] == f"service:{service}")
        )

    return {"taskArns": [arn for arn, task in cloud.fargate.tasks.items() if wanted(task)]}


def _deployments(cloud: Cloud, service: str, cluster: str) -> list[tuple[str, dict[str, Any]]]:
    name, group = service.rsplit("/", 1)[-1], cluster.rsplit("/", 1)[-1]
    for arn, items in cloud.fargate.deployments.items():
        if arn.endswith(f"/{group}/{name}"):
            return [(arn, item) for item in items]
    raise Refused("ServiceNotFoundException", f"Service not found: {service}")


# Logs, CloudWatch, Budgets


@stand_in("logs", "AssociateKmsKey", "notes the key")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    cloud.store[("log group key", p.get("logGroupName") or p["resourceIdentifier"])] = dict(p)
    return {}


@stand_in("cloudwatch", "PutCompositeAlarm", "keeps the alarm; every alarm in its rule must exist")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    import re

    client = cloud.client("cloudwatch")
    for name in re.findall(r"""ALARM\(["']?([^"')]+)["']?\)""", p["AlarmRule"]):
        known = client.describe_alarms(AlarmNames=[name])
        if not known["MetricAlarms"] and ("composite alarm", name) not in cloud.store:
            raise Refused("ValidationError", f"the rule names {name}, which does not exist")
    cloud.store[("composite alarm", p["AlarmName"])] = dict(p)
    return {}


@stand_in("cloudwatch", "DeleteAlarms", "forgets composite alarms, and leaves the others to moto")
def _(cloud: Cloud, p: Params) -> dict[str, Any] | None:
    composite = [name for name in p["AlarmNames"] if ("composite alarm", name) in cloud.store]
    for name in composite:
        del cloud.store[("composite alarm", name)]
    return {} if len(composite) == len(p["AlarmNames"]) else None


@stand_in("budgets", "UpdateBudget", "accepts the change of a budget that moto knows; moto keeps the old one")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    cloud.client("budgets").describe_budget(AccountId=p["AccountId"], BudgetName=p["NewBudget"]["BudgetName"])
    return {}


# AWS Backup


@stand_in("backup", "UpdateBackupPlan", "accepts the change; moto keeps the old plan")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    plan = cloud.client("backup").get_backup_plan(BackupPlanId=p["BackupPlanId"])
    return {
        "BackupPlanId": p["BackupPlanId"],
        "BackupPlanArn": plan["BackupPlanArn"],
        "CreationDate": _now(),
        "VersionId": str(uuid.uuid4()),
    }


@stand_in("backup", "CreateBackupSelection", "keeps the selection; its plan must exist")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    cloud.client("backup").get_backup_plan(BackupPlanId=p["BackupPlanId"])
    selection = {"SelectionId": str(uuid.uuid4()), "BackupPlanId": p["BackupPlanId"], "CreationDate": _now()}
    cloud.store[("backup selection", selection["SelectionId"])] = {**selection, "_selection": p["BackupSelection"]}
    return selection


@stand_in("backup", "DeleteBackupSelection", "forgets the selection")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    _get(cloud, "backup selection", p["SelectionId"], "ResourceNotFoundException")
    del cloud.store[("backup selection", p["SelectionId"])]
    return {}


@stand_in("backup", "PutBackupVaultNotifications", "notes the topic and the events")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    cloud.store[("vault notifications", p["BackupVaultName"])] = dict(p)
    return {}


@stand_in("backup", "DeleteBackupVaultNotifications", "forgets them")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    cloud.store.pop(("vault notifications", p["BackupVaultName"]), None)
    return {}


@stand_in("backup", "PutBackupVaultAccessPolicy", "notes the policy")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    cloud.store[("vault policy", p["BackupVaultName"])] = dict(p)
    return {}


@stand_in("backup", "DeleteBackupVaultAccessPolicy", "forgets it")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    cloud.store.pop(("vault policy", p["BackupVaultName"]), None)
    return {}


@stand_in("backup", "CreateRestoreTestingPlan", "keeps the plan; no test ever runs")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    name = p["RestoreTestingPlan"]["RestoreTestingPlanName"]
    arn = _arn(cloud, "backup", f"restore-testing-plan:{name}-{uuid.uuid4()}")
    _make(cloud, "restore testing plan", name, {**p["RestoreTestingPlan"], "_arn": arn}, "AlreadyExistsException")
    return {"RestoreTestingPlanName": name, "RestoreTestingPlanArn": arn, "CreationTime": _now()}


@stand_in("backup", "UpdateRestoreTestingPlan", "keeps the change")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    plan = _get(cloud, "restore testing plan", p["RestoreTestingPlanName"], "ResourceNotFoundException")
    plan.update(p["RestoreTestingPlan"])
    return {
        "RestoreTestingPlanName": p["RestoreTestingPlanName"],
        "RestoreTestingPlanArn": plan["_arn"],
        "CreationTime": _now(),
        "UpdateTime": _now(),
    }


@stand_in("backup", "DeleteRestoreTestingPlan", "forgets the plan; refuses while it has selections")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    name = p["RestoreTestingPlanName"]
    _get(cloud, "restore testing plan", name, "ResourceNotFoundException")
    if any(kind == "restore testing selection" and key.startswith(f"{name}:") for kind, key in cloud.store):
        raise Refused("InvalidRequestException", f"{name} still has selections")
    del cloud.store[("restore testing plan", name)]
    return {}


@stand_in("backup", "CreateRestoreTestingSelection", "keeps the selection; its plan must exist")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    plan = _get(cloud, "restore testing plan", p["RestoreTestingPlanName"], "ResourceNotFoundException")
    selection = p["RestoreTestingSelection"]
    key = f"{p['RestoreTestingPlanName']}:{selection['RestoreTestingSelectionName']}"
    _make(cloud, "restore testing selection", key, dict(selection), "AlreadyExistsException")
    return {
        "CreationTime": _now(),
        "RestoreTestingPlanArn": plan["_arn"],
        "RestoreTestingPlanName": p["RestoreTestingPlanName"],
        "RestoreTestingSelectionName": selection["RestoreTestingSelectionName"],
    }


@stand_in("backup", "DeleteRestoreTestingSelection", "forgets the selection")
def _(cloud: Cloud, p: Params) -> dict[str, Any]:
    key = f"{p['RestoreTestingPlanName']}:{p['RestoreTestingSelectionName']}"
    _get(cloud, "restore testing selection", key, "ResourceNotFoundException")
    del cloud.store[("restore testing selection", key)]
    return {}
