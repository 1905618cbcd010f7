"""ECS, ECR, the load balancer, certificates, DNS, WAF, scaling."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emulator.mapping import Kind, Step

if TYPE_CHECKING:
    from emulator.cloud import Cloud


def awsvpc(value: Mapping[str, Any]) -> dict[str, Any]:
    """The provider's flat network block; `assignPublicIp` is a boolean there and a word in the API."""
    known = {"subnets", "securityGroups", "assignPublicIp"}
    if set(value) - known:
        raise ValueError(f"networkConfiguration has {', '.join(sorted(set(value) - known))}")
    made = {key: list(value[key]) for key in ("subnets", "securityGroups") if value.get(key) is not None}
    public = "ENABLED" if value.get("assignPublicIp") else "DISABLED"
    return {"awsvpcConfiguration": {**made, "assignPublicIp": public}}


_SERVICE_NAMES = {
    "name": "serviceName",
    "deploymentCircuitBreaker": "deploymentConfiguration.deploymentCircuitBreaker",
    "alarms": "deploymentConfiguration.alarms",
    "deploymentMinimumHealthyPercent": "deploymentConfiguration.minimumHealthyPercent",
    "deploymentMaximumPercent": "deploymentConfiguration.maximumPercent",
    "loadBalancers.elbName": "loadBalancerName",
}
_SERVICE_LOCAL = {
    "waitForSteadyState": "how long the provider waits: the pretended Fargate is steady at once",
    "sigintRollback": "what the provider does on Ctrl-C",
    "triggers": "a reason for the provider to change the service",
    "forceDelete": "decides the deletion's arguments",
    "iamRole": "of classic load balancers",
}


def _update_service(
    cloud: Cloud, inputs: Mapping[str, Any], known: Mapping[str, Any], changed: set[str]
) -> Mapping[str, Any]:
    step = Step(
        operation="UpdateService",
        names={**_SERVICE_NAMES, "name": ""},
        convert={"networkConfiguration": awsvpc},
    )
    wanted = {name: inputs.get(name) for name in changed if name not in _SERVICE_LOCAL and name not in _TAGS}
    untaken = [name for name in wanted if not step.takes("ecs", name)]
    if untaken:
        raise ValueError(f"UpdateService does not take {', '.join(sorted(untaken))}")
    if wanted:
        params = {"service": inputs["name"], "cluster": inputs["cluster"], **step.arguments("ecs", wanted, known)}
        params.setdefault("taskDefinition", inputs["taskDefinition"])
        answer = cloud.call("ecs", "UpdateService", params)
        _steady(cloud, answer["service"], inputs)
    return {}


def _create_service(cloud: Cloud, inputs: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    answer = cloud.call("ecs", "CreateService", CREATE_SERVICE.arguments("ecs", _with_tags(inputs), known))
    service = answer["service"]
    _steady(cloud, service, inputs)
    return service["serviceArn"], {"arn": service["serviceArn"]}


def _steady(cloud: Cloud, service: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    """As the real provider waits: a deployment that was stopped or rolled back is an error with its reason."""
    if not inputs.get("waitForSteadyState"):
        return
    newest = cloud.fargate.deployments[service["serviceArn"]][0]
    if newest["reason"]:
        raise ValueError(f"waiting for ECS Service steady state: deployment {newest['status']}: {newest['reason']}")


CREATE_SERVICE = Step(operation="CreateService", names=_SERVICE_NAMES, convert={"networkConfiguration": awsvpc})
_TAGS = ("tags", "tagsAll")


def _with_tags(inputs: Mapping[str, Any]) -> dict[str, Any]:
    left = {name: value for name, value in inputs.items() if name not in _TAGS}
    return {**left, **({"tags": inputs["tagsAll"]} if inputs.get("tagsAll") else {})}


class _ServiceKind(Kind):
    def covers(self, name: str) -> bool:
        updates = Step(operation="UpdateService", names=_SERVICE_NAMES)
        return super().covers(name) or CREATE_SERVICE.takes("ecs", name) or updates.takes("ecs", name)


def _delete_service(cloud: Cloud, outputs: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    where = {"service": outputs["name"], "cluster": outputs["cluster"]}
    cloud.call("ecs", "UpdateService", {**where, "desiredCount": 0})
    cloud.call("ecs", "DeleteService", {**where, "force": bool(outputs.get("forceDelete"))})


def _deregister(cloud: Cloud, outputs: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    if not outputs.get("skipDestroy"):
        cloud.call("ecs", "DeregisterTaskDefinition", {"taskDefinition": outputs["arn"]})


def _delete_cluster(cloud: Cloud, outputs: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    cloud.call("ecs", "DeleteCluster", {"cluster": known["id"]})


_LB_ATTRIBUTES = {
    "idleTimeout": "idle_timeout.timeout_seconds",
    "clientKeepAlive": "client_keep_alive.seconds",
    "dropInvalidHeaderFields": "routing.http.drop_invalid_header_fields.enabled",
    "desyncMitigationMode": "routing.http.desync_mitigation_mode",
    "enableHttp2": "routing.http2.enabled",
    "enableDeletionProtection": "deletion_protection.enabled",
    "enableWafFailOpen": "waf.fail_open.enabled",
    "enableCrossZoneLoadBalancing": "load_balancing.cross_zone.enabled",
    "enableTlsVersionAndCipherSuiteHeaders": "routing.http.x_amzn_tls_version_and_cipher_suite.enabled",
    "enableXffClientPort": "routing.http.xff_client_port.enabled",
    "enableZonalShift": "zonal_shift.config.enabled",
    "preserveHostHeader": "routing.http.preserve_host_header.enabled",
    "xffHeaderProcessingMode": "routing.http.xff_header_processing.mode",
}
_LB_LOGS = {"accessLogs": "access_logs.s3", "connectionLogs": "connection_logs.s3"}
_TARGET_ATTRIBUTES = {
    "deregistrationDelay": "deregistration_delay.timeout_seconds",
    "slowStart": "slow_start.duration_seconds",
    "loadBalancingAlgorithmType": "load_balancing.algorithm.type",
    "loadBalancingCrossZoneEnabled": "load_balancing.cross_zone.enabled",
}
_LISTENER_ATTRIBUTES = {
    "routingHttpResponseServerEnabled": "routing.http.response.server.enabled",
    "routingHttpResponseStrictTransportSecurityHeaderValue": (
        "routing.http.response.strict_transport_security.header_value"
    ),
    "routingHttpResponseXContentTypeOptionsHeaderValue": "routing.http.response.x_content_type_options.header_value",
    "routingHttpResponseXFrameOptionsHeaderValue": "routing.http.response.x_frame_options.header_value",
    "routingHttpResponseContentSecurityPolicyHeaderValue": (
        "routing.http.response.content_security_policy.header_value"
    ),
    "tcpIdleTimeoutSeconds": "tcp.idle_timeout.seconds",
}


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(int(value) if isinstance(value, float) else value)


def _attributes(table: Mapping[str, str], logs: Mapping[str, str] | None = None) -> Any:
    def build(inputs: Mapping[str, Any]) -> dict[str, Any]:
        found = [
            {"Key": key, "Value": _word(inputs[name])} for name, key in table.items() if inputs.get(name) is not None
        ]
        for name, key in (logs or {}).items():
            for part, value in (inputs.get(name) or {}).items():
                if part not in ("bucket", "enabled", "prefix"):
                    raise ValueError(f"{name}.{part} is not known")
                found.append({"Key": f"{key}.{part}", "Value": _word(value)})
        return {"Attributes": found}

    return build


def _suffix(kind: str) -> Any:
    """What stands in metrics' dimensions: the end of the ARN."""
    return lambda record, known: record[kind].split(":", 5)[5].removeprefix("loadbalancer/")


_ACTION_NAMES = {
    "defaultActions.redirect": "RedirectConfig",
    "defaultActions.fixedResponse": "FixedResponseConfig",
    "defaultActions.forward": "ForwardConfig",
    "defaultActions.forward.targetGroups.arn": "TargetGroupArn",
    "defaultActions.forward.stickiness": "TargetGroupStickinessConfig",
    "certificateArn": "Certificates",
}
_ACTIONS = {"certificateArn": lambda arn: [{"CertificateArn": arn}]}
_RULE_NAMES = {
    **{name.replace("defaultActions", "actions"): member for name, member in _ACTION_NAMES.items() if "." in name},
    "conditions.pathPattern": "PathPatternConfig",
    "conditions.hostHeader": "HostHeaderConfig",
}

_HEALTH = {
    "enabled": "HealthCheckEnabled",
    "path": "HealthCheckPath",
    "port": "HealthCheckPort",
    "protocol": "HealthCheckProtocol",
    "interval": "HealthCheckIntervalSeconds",
    "timeout": "HealthCheckTimeoutSeconds",
    "healthyThreshold": "HealthyThresholdCount",
    "unhealthyThreshold": "UnhealthyThresholdCount",
    "matcher": "Matcher.HttpCode",
}


def _validation_options(record: Any, known: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "domainName": item["DomainName"],
            "resourceRecordName": item["ResourceRecord"]["Name"],
            "resourceRecordType": item["ResourceRecord"]["Type"],
            "resourceRecordValue": item["ResourceRecord"]["Value"],
        }
        for item in record.get("DomainValidationOptions", [])
        if "ResourceRecord" in item
    ]


def _validate_certificate(
    cloud: Cloud, inputs: Mapping[str, Any], known: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The real provider waits until ACM has seen the records: here they must be in Route 53 when they are named."""
    told = cloud.call("acm", "DescribeCertificate", {"CertificateArn": inputs["certificateArn"]})["Certificate"]
    wanted = {option["ResourceRecord"]["Name"].rstrip(".") for option in told["DomainValidationOptions"]}
    zones = cloud.call("route53", "ListHostedZones", {})["HostedZones"]
    there = {
        record["Name"].rstrip(".")
        for zone in zones
        for record in cloud.call("route53", "ListResourceRecordSets", {"HostedZoneId": zone["Id"]})[
            "ResourceRecordSets"
        ]
    }
    if inputs.get("validationRecordFqdns") is not None and not wanted <= there:
        raise ValueError(f"the certificate stays pending: no record {', '.join(sorted(wanted - there))}")
    return "2026-01-01 00:00:00 +0000 UTC", {}


def _record_set(inputs: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"Name": inputs["name"], "Type": inputs["type"]}
    if inputs.get("aliases"):
        (alias,) = inputs["aliases"]
        made["AliasTarget"] = {
            "HostedZoneId": alias["zoneId"],
            "DNSName": alias["name"],
            "EvaluateTargetHealth": alias["evaluateTargetHealth"],
        }
    else:
        made["TTL"] = int(inputs["ttl"])
        made["ResourceRecords"] = [{"Value": value} for value in inputs["records"]]
    return made


def _change_record(cloud: Cloud, action: str, inputs: Mapping[str, Any]) -> None:
    batch = {"Changes": [{"Action": action, "ResourceRecordSet": _record_set(inputs)}]}
    cloud.call("route53", "ChangeResourceRecordSets", {"HostedZoneId": inputs["zoneId"], "ChangeBatch": batch})


def _create_record(cloud: Cloud, inputs: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    _change_record(cloud, "UPSERT" if inputs.get("allowOverwrite") else "CREATE", inputs)
    return f"{inputs['zoneId']}_{inputs['name']}_{inputs['type']}", {"fqdn": inputs["name"].rstrip(".")}


def _update_record(
    cloud: Cloud, inputs: Mapping[str, Any], known: Mapping[str, Any], changed: set[str]
) -> Mapping[str, Any]:
    _change_record(cloud, "UPSERT", inputs)
    return {}


def _acl(cloud: Cloud, outputs: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Which web ACL, with the token that a change must bring."""
    which = {"Name": outputs["name"], "Scope": outputs["scope"], "Id": known["id"]}
    return {**which, "LockToken": cloud.call("wafv2", "GetWebACL", which)["LockToken"]}


def _update_acl(
    cloud: Cloud, inputs: Mapping[str, Any], known: Mapping[str, Any], changed: set[str]
) -> Mapping[str, Any]:
    arguments = Step(operation="UpdateWebACL").arguments("wafv2", inputs, known)
    cloud.call("wafv2", "UpdateWebACL", {**arguments, **_acl(cloud, {**inputs}, known)})
    return {}


def _delete_acl(cloud: Cloud, outputs: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    cloud.call("wafv2", "DeleteWebACL", _acl(cloud, outputs, known))


_LOGGING_NAMES = {
    "resourceArn": "LoggingConfiguration.ResourceArn",
    "logDestinationConfigs": "LoggingConfiguration.LogDestinationConfigs",
    "redactedFields": "LoggingConfiguration.RedactedFields",
    "loggingFilter": "LoggingConfiguration.LoggingFilter",
}


def _strategies_replace(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Unless a new deployment is forced, and there are some before and after."""
    kept = bool(old.get("capacityProviderStrategies")) and bool(new.get("capacityProviderStrategies"))
    return not (kept and new.get("forceNewDeployment"))


_TARGET_TRACKING = "targetTrackingScalingPolicyConfiguration"

KINDS = (
    Kind(
        type="aws:ecs/cluster:Cluster",
        service="ecs",
        create=Step(operation="CreateCluster", names={"name": "clusterName"}),
        record="cluster",
        id="clusterArn",
        outputs={"arn": "clusterArn", "name": "clusterName"},
        update=Step(
            operation="UpdateCluster",
            fixed={"cluster": "{id}"},
            only=frozenset({"settings", "configuration", "serviceConnectDefaults"}),
        ),
        delete=_delete_cluster,
        replaces=frozenset({"name"}),
        named="name",
    ),
    Kind(
        type="aws:ecs/clusterCapacityProviders:ClusterCapacityProviders",
        service="ecs",
        create=Step(operation="PutClusterCapacityProviders", names={"clusterName": "cluster"}),
        update=Step(operation="PutClusterCapacityProviders", names={"clusterName": "cluster"}),
        id="={clusterName}",
        delete=(
            Step(
                operation="PutClusterCapacityProviders",
                fixed={"cluster": "{clusterName}", "capacityProviders": [], "defaultCapacityProviderStrategy": []},
            ),
        ),
        replaces=frozenset({"clusterName"}),
    ),
    Kind(
        type="aws:ecs/taskDefinition:TaskDefinition",
        service="ecs",
        create=Step(
            operation="RegisterTaskDefinition",
            convert={"containerDefinitions": json.loads},
            names={"ephemeralStorage.sizeInGib": "sizeInGiB", "volumes.hostPath": "host.sourcePath"},
        ),
        record="taskDefinition",
        id="family",
        outputs={
            "arn": "taskDefinitionArn",
            "revision": "revision",
            "arnWithoutRevision": lambda record, known: record["taskDefinitionArn"].rsplit(":", 1)[0],
        },
        delete=_deregister,
        local={"skipDestroy": "keeps the revision at deletion", "trackLatest": "which revision a refresh looks at"},
        replaces=frozenset(
            {
                *("family", "containerDefinitions", "cpu", "memory", "networkMode", "requiresCompatibilities"),
                *("executionRoleArn", "taskRoleArn", "runtimePlatform", "ephemeralStorage", "volumes", "ipcMode"),
                *("pidMode", "placementConstraints", "proxyConfiguration", "enableFaultInjection"),
            }
        ),
    ),
    _ServiceKind(
        type="aws:ecs/service:Service",
        service="ecs",
        create=_create_service,
        tagged=True,
        update=_update_service,
        delete=_delete_service,
        id="",
        local=_SERVICE_LOCAL,
        replaces=frozenset({"name", "cluster", "launchType", "schedulingStrategy", "iamRole"}),
        replaces_when={"capacityProviderStrategies": _strategies_replace},
        named="name",
    ),
    Kind(
        type="aws:ecr/repository:Repository",
        service="ecr",
        create=Step(
            operation="CreateRepository",
            names={"name": "repositoryName", "encryptionConfigurations": "encryptionConfiguration"},
        ),
        record="repository",
        id="repositoryName",
        outputs={"arn": "repositoryArn", "repositoryUrl": "repositoryUri", "registryId": "registryId"},
        steps=(
            Step(
                operation="PutImageTagMutability",
                fixed={"repositoryName": "{id}"},
                only=frozenset({"imageTagMutability", "imageTagMutabilityExclusionFilters"}),
            ),
            Step(
                operation="PutImageScanningConfiguration",
                fixed={"repositoryName": "{id}"},
                only=frozenset({"imageScanningConfiguration"}),
            ),
        ),
        delete=lambda cloud, outputs, known: cloud.call(
            "ecr", "DeleteRepository", {"repositoryName": known["id"], "force": bool(outputs.get("forceDelete"))}
        ),
        local={"forceDelete": "decides the deletion's arguments"},
        replaces=frozenset({"name", "encryptionConfigurations"}),
        named="name",
    ),
    Kind(
        type="aws:ecr/lifecyclePolicy:LifecyclePolicy",
        service="ecr",
        create=Step(
            operation="PutLifecyclePolicy", names={"repository": "repositoryName", "policy": "lifecyclePolicyText"}
        ),
        id="repositoryName",
        delete=(Step(operation="DeleteLifecyclePolicy", fixed={"repositoryName": "{id}"}),),
        update=Step(
            operation="PutLifecyclePolicy", names={"repository": "repositoryName", "policy": "lifecyclePolicyText"}
        ),
        replaces=frozenset({"repository"}),
    ),
    Kind(
        type="aws:lb/loadBalancer:LoadBalancer",
        service="elbv2",
        create=Step(
            operation="CreateLoadBalancer",
            names={"loadBalancerType": "Type", "internal": "Scheme"},
            convert={"internal": lambda internal: "internal" if internal else "internet-facing"},
        ),
        record="LoadBalancers[0]",
        id="LoadBalancerArn",
        outputs={
            "arn": "LoadBalancerArn",
            "dnsName": "DNSName",
            "zoneId": "CanonicalHostedZoneId",
            "arnSuffix": _suffix("LoadBalancerArn"),
        },
        steps=(
            Step(
                operation="ModifyLoadBalancerAttributes",
                fixed={"LoadBalancerArn": "{id}"},
                only=frozenset({*_LB_ATTRIBUTES, *_LB_LOGS}),
                build=_attributes(_LB_ATTRIBUTES, _LB_LOGS),
            ),
            Step(operation="SetSubnets", fixed={"LoadBalancerArn": "{id}"}, only=frozenset({"subnets"})),
            Step(
                operation="SetSecurityGroups",
                fixed={"LoadBalancerArn": "{id}"},
                only=frozenset({"securityGroups"}),
            ),
        ),
        delete=(Step(operation="DeleteLoadBalancer", fixed={"LoadBalancerArn": "{id}"}),),
        replaces=frozenset({"name", "namePrefix", "internal", "loadBalancerType", "customerOwnedIpv4Pool"}),
        named="name",
        name_limit=32,
    ),
    Kind(
        type="aws:lb/targetGroup:TargetGroup",
        service="elbv2",
        create=Step(operation="CreateTargetGroup", spread={"healthCheck": _HEALTH}),
        record="TargetGroups[0]",
        id="TargetGroupArn",
        outputs={"arn": "TargetGroupArn", "arnSuffix": _suffix("TargetGroupArn")},
        steps=(
            Step(
                operation="ModifyTargetGroupAttributes",
                fixed={"TargetGroupArn": "{id}"},
                only=frozenset(_TARGET_ATTRIBUTES),
                build=_attributes(_TARGET_ATTRIBUTES),
            ),
        ),
        update=Step(
            operation="ModifyTargetGroup",
            fixed={"TargetGroupArn": "{id}"},
            spread={"healthCheck": _HEALTH},
            only=frozenset({"healthCheck"}),
        ),
        delete=(Step(operation="DeleteTargetGroup", fixed={"TargetGroupArn": "{id}"}),),
        replaces=frozenset(
            {"name", "namePrefix", "port", "protocol", "protocolVersion", "targetType", "vpcId", "ipAddressType"}
        ),
        named="name",
        name_limit=32,
    ),
    Kind(
        type="aws:lb/listener:Listener",
        service="elbv2",
        create=Step(operation="CreateListener", names=_ACTION_NAMES, convert=_ACTIONS),
        record="Listeners[0]",
        id="ListenerArn",
        outputs={"arn": "ListenerArn"},
        steps=(
            Step(
                operation="ModifyListenerAttributes",
                fixed={"ListenerArn": "{id}"},
                only=frozenset(_LISTENER_ATTRIBUTES),
                build=_attributes(_LISTENER_ATTRIBUTES),
            ),
        ),
        update=Step(operation="ModifyListener", fixed={"ListenerArn": "{id}"}, names=_ACTION_NAMES, convert=_ACTIONS),
        delete=(Step(operation="DeleteListener", fixed={"ListenerArn": "{id}"}),),
        replaces=frozenset({"loadBalancerArn"}),
    ),
    Kind(
        type="aws:lb/listenerRule:ListenerRule",
        service="elbv2",
        create=Step(operation="CreateRule", names=_RULE_NAMES),
        record="Rules[0]",
        id="RuleArn",
        outputs={"arn": "RuleArn"},
        update=Step(
            operation="ModifyRule",
            fixed={"RuleArn": "{id}"},
            names=_RULE_NAMES,
            only=frozenset({"actions", "conditions"}),
        ),
        delete=(Step(operation="DeleteRule", fixed={"RuleArn": "{id}"}),),
        replaces=frozenset({"listenerArn", "priority"}),
    ),
    Kind(
        type="aws:acm/certificate:Certificate",
        service="acm",
        create=Step(operation="RequestCertificate"),
        id="CertificateArn",
        read=Step(operation="DescribeCertificate", fixed={"CertificateArn": "{id}"}),
        record="Certificate",
        outputs={"arn": "CertificateArn", "domainValidationOptions": _validation_options},
        delete=(Step(operation="DeleteCertificate", fixed={"CertificateArn": "{id}"}),),
        replaces=frozenset({"domainName", "subjectAlternativeNames", "validationMethod", "keyAlgorithm"}),
    ),
    Kind(
        type="aws:acm/certificateValidation:CertificateValidation",
        service="acm",
        create=_validate_certificate,
        id="",
        delete=lambda cloud, outputs, known: None,
        replaces=frozenset({"certificateArn", "validationRecordFqdns"}),
    ),
    Kind(
        type="aws:route53/record:Record",
        service="route53",
        create=_create_record,
        update=_update_record,
        delete=lambda cloud, outputs, known: _change_record(cloud, "DELETE", outputs),
        id="",
        local=dict.fromkeys(("ttl", "records", "aliases", "allowOverwrite"), "becomes a part of the change batch"),
        replaces=frozenset({"zoneId", "name", "type"}),
    ),
    Kind(
        type="aws:wafv2/webAcl:WebAcl",
        service="wafv2",
        create=Step(operation="CreateWebACL"),
        record="Summary",
        id="Id",
        outputs={"arn": "ARN"},
        update=_update_acl,
        delete=_delete_acl,
        replaces=frozenset({"name", "namePrefix", "scope"}),
        named="name",
        name_limit=128,
    ),
    Kind(
        type="aws:wafv2/webAclAssociation:WebAclAssociation",
        service="wafv2",
        create=Step(operation="AssociateWebACL"),
        id="={webAclArn},{resourceArn}",
        delete=(Step(operation="DisassociateWebACL", fixed={"ResourceArn": "{resourceArn}"}),),
        replaces=frozenset({"webAclArn", "resourceArn"}),
    ),
    Kind(
        type="aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration",
        service="wafv2",
        create=Step(operation="PutLoggingConfiguration", names=_LOGGING_NAMES),
        id="={resourceArn}",
        update=Step(operation="PutLoggingConfiguration", names=_LOGGING_NAMES),
        delete=(Step(operation="DeleteLoggingConfiguration", fixed={"ResourceArn": "{id}"}),),
        replaces=frozenset({"resourceArn", "logDestinationConfigs"}),
    ),
    Kind(
        type="aws:appautoscaling/target:Target",
        service="application-autoscaling",
        create=Step(operation="RegisterScalableTarget"),
        id="={resourceId}",
        optional={"arn": "ScalableTargetARN"},
        update=Step(
            operation="RegisterScalableTarget",
            fixed={
                "ServiceNamespace": "{serviceNamespace}",
                "ResourceId": "{resourceId}",
                "ScalableDimension": "{scalableDimension}",
            },
            only=frozenset({"minCapacity", "maxCapacity", "roleArn", "suspendedState"}),
        ),
        delete=(
            Step(
                operation="DeregisterScalableTarget",
                fixed={
                    "ServiceNamespace": "{serviceNamespace}",
                    "ResourceId": "{resourceId}",
                    "ScalableDimension": "{scalableDimension}",
                },
            ),
        ),
        replaces=frozenset({"serviceNamespace", "resourceId", "scalableDimension"}),
    ),
    Kind(
        type="aws:appautoscaling/policy:Policy",
        service="application-autoscaling",
        create=Step(
            operation="PutScalingPolicy",
            names={"name": "PolicyName", "tags": ""},
        ),
        id="={name}",
        outputs={"arn": "PolicyARN", "alarmArns": "Alarms[].AlarmARN"},
        update=Step(operation="PutScalingPolicy", names={"name": "PolicyName"}),
        delete=(
            Step(
                operation="DeleteScalingPolicy",
                fixed={
                    "PolicyName": "{name}",
                    "ServiceNamespace": "{serviceNamespace}",
                    "ResourceId": "{resourceId}",
                    "ScalableDimension": "{scalableDimension}",
                },
            ),
        ),
        replaces=frozenset({"name", "serviceNamespace", "resourceId", "scalableDimension"}),
        named="name",
        name_limit=255,
    ),
)
