"""Reads services and their scaling out of a plan.

Identities are unknown in a plan, so what belongs together is found by what each property depends on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol, cast

from infra.engine.values import UNKNOWN, Secret

from .model import Alarm, Measure, Missing, ScaledService, Step, StepPolicy, TrackingPolicy

SERVICE: Final = "aws:ecs/service:Service"
DEFINITION: Final = "aws:ecs/taskDefinition:TaskDefinition"
TARGET: Final = "aws:appautoscaling/target:Target"
POLICY: Final = "aws:appautoscaling/policy:Policy"
ALARM: Final = "aws:cloudwatch/metricAlarm:MetricAlarm"

_TRACKED: Final = {
    "ECSServiceAverageCPUUtilization": "CPUUtilization",
    "ECSServiceAverageMemoryUtilization": "MemoryUtilization",
    "ALBRequestCountPerTarget": "RequestCountPerTarget",
}
"""The metric behind each predefined one."""


class _Registration(Protocol):
    @property
    def property_dependencies(self) -> Mapping[str, tuple[str, ...]]: ...


class Resource(Protocol):
    """A resource of a plan, as far as it matters here."""

    @property
    def urn(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> Mapping[str, Any]: ...
    @property
    def registration(self) -> _Registration: ...


class ReadingError(Exception):
    """A policy or alarm that cannot be simulated as it is; the text says which and why."""

    user_facing = True


def services(resources: Iterable[Resource]) -> tuple[ScaledService, ...]:
    """The ECS services of a plan by name. Raises ReadingError for what would be simulated wrongly."""
    plan = _Plan(resources)
    return tuple(_service(plan, one) for one in sorted(plan.of(SERVICE), key=lambda one: one.name))


class _Plan:
    def __init__(self, resources: Iterable[Resource]) -> None:
        self._all = {one.urn: one for one in resources}

    def of(self, type_: str) -> list[Resource]:
        return [one for one in self._all.values() if one.type == type_]

    def behind(self, resource: Resource, key: str, type_: str) -> list[Resource]:
        """The resources of a type whose outputs make up a property."""
        urns = resource.registration.property_dependencies.get(key, ())
        return [self._all[urn] for urn in urns if urn in self._all and self._all[urn].type == type_]

    def using(self, type_: str, key: str, of: Resource) -> list[Resource]:
        """The resources of a type that have an output of another one in a property."""
        return [one for one in self.of(type_) if of in self.behind(one, key, of.type)]


def _service(plan: _Plan, service: Resource) -> ScaledService:
    definition = next(iter(plan.behind(service, "taskDefinition", DEFINITION)), None)
    if definition is None:
        raise ReadingError(f"{service.name} has no task definition in the plan: its size is not known")
    targets = plan.using(TARGET, "resourceId", service)
    desired = int(_known(service, "desiredCount"))
    target = targets[0] if targets else None
    policies = plan.using(POLICY, "resourceId", target) if target else []
    stepping = tuple(_stepping(plan, one) for one in policies if one.inputs["policyType"] == "StepScaling")
    tracking = tuple(_tracking(one) for one in policies if one.inputs["policyType"] == "TargetTrackingScaling")
    queues = {
        queue for policy in policies for alarm in plan.using(ALARM, "alarmActions", policy) for queue in _queues(alarm)
    }
    strategies = service.inputs.get("capacityProviderStrategies", [])
    base = [int(one.get("base", 0)) for one in strategies if one["capacityProvider"] == "FARGATE"]
    return ScaledService(
        name=service.name,
        minimum=int(_known(target, "minCapacity")) if target else desired,
        maximum=int(_known(target, "maxCapacity")) if target else desired,
        tracking=tracking,
        stepping=stepping,
        vcpu=float(_known(definition, "cpu")) / 1024,
        memory_gib=float(_known(definition, "memory")) / 1024,
        arm=definition.inputs.get("runtimePlatform", {}).get("cpuArchitecture") == "ARM64",
        on_demand_base=sum(base),
        spot=any(one["capacityProvider"] == "FARGATE_SPOT" and one.get("weight", 0) for one in strategies),
        queue=min(queues) if queues else None,
    )


def _tracking(policy: Resource) -> TrackingPolicy:
    config = _known(policy, "targetTrackingScalingPolicyConfiguration")
    predefined = config.get("predefinedMetricSpecification", {}).get("predefinedMetricType")
    if predefined not in _TRACKED:
        raise ReadingError(f"{policy.name} tracks {predefined or 'a metric of its own'}, which is not simulated")
    return TrackingPolicy(
        name=policy.name,
        metric=_TRACKED[predefined],
        target=float(config["targetValue"]),
        out_cooldown=int(config.get("scaleOutCooldown", 300)),
        in_cooldown=int(config.get("scaleInCooldown", 300)),
        scale_in=not config.get("disableScaleIn", False),
    )


def _stepping(plan: _Plan, policy: Resource) -> StepPolicy:
    config = _known(policy, "stepScalingPolicyConfiguration")
    return StepPolicy(
        name=policy.name,
        adjustment=str(config["adjustmentType"]),
        steps=tuple(
            Step(
                lower=_bound(one.get("metricIntervalLowerBound")),
                upper=_bound(one.get("metricIntervalUpperBound")),
                adjustment=int(one["scalingAdjustment"]),
            )
            for one in config.get("stepAdjustments", [])
        ),
        cooldown=int(config.get("cooldown", 300)),
        minimum_magnitude=int(config.get("minAdjustmentMagnitude", 0)),
        alarms=tuple(_alarm(one) for one in plan.using(ALARM, "alarmActions", policy)),
    )


def _alarm(alarm: Resource) -> Alarm:
    inputs = alarm.inputs
    periods = int(inputs["evaluationPeriods"])
    return Alarm(
        name=alarm.name,
        measure=_measure(alarm),
        comparison=str(inputs["comparisonOperator"]),
        threshold=float(inputs["threshold"]),
        periods=periods,
        datapoints=int(inputs.get("datapointsToAlarm") or periods),
        missing=cast("Missing", inputs.get("treatMissingData", "missing")),
    )


def _measure(alarm: Resource) -> Measure:
    queries = alarm.inputs.get("metricQueries")
    if not queries:
        _must_be_a_minute(alarm, alarm.inputs["period"])
        return Measure(metrics={"value": str(alarm.inputs["metricName"])}, expression="value")
    expressions = [one for one in queries if one.get("expression")]
    metrics = {str(one["id"]): one["metric"] for one in queries if one.get("metric")}
    if len(expressions) != 1 or not expressions[0].get("returnData"):
        raise ReadingError(f"{alarm.name} has {len(expressions)} expressions; one over plain metrics is simulated")
    for metric in metrics.values():
        _must_be_a_minute(alarm, metric["period"])
    names = {id_: str(one["metricName"]) for id_, one in metrics.items()}
    return Measure(metrics=names, expression=str(expressions[0]["expression"]))


def _must_be_a_minute(alarm: Resource, period: float) -> None:
    if int(period) != 60:
        raise ReadingError(f"{alarm.name} has a period of {int(period)} s; only minutes are simulated")


def _queues(alarm: Resource) -> set[str]:
    dimensions = [alarm.inputs.get("dimensions") or {}]
    dimensions += [(one.get("metric") or {}).get("dimensions") or {} for one in alarm.inputs.get("metricQueries") or []]
    return {str(one["Queue"]) for one in dimensions if "Queue" in one}


def _known(resource: Resource, key: str) -> Any:
    value = resource.inputs.get(key)
    if isinstance(value, Secret):
        value = value.value
    if value is None or value is UNKNOWN:
        raise ReadingError(f"{key} of {resource.name} is not known in a plan, so it cannot be simulated")
    return value


def _bound(text: Any) -> float | None:
    return None if text in (None, "") else float(text)
