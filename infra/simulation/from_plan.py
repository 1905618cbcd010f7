"""Reads services and their scaling out of a plan.

Identities are unknown in a plan, so what belongs together is found by what each property depends on.
"""

from __future__ import annotations

from typing import Any, Final, cast

from infra.engine.plan import Plan, PlannedResource
from infra.engine.values import UNKNOWN, Secret
from infra.simulation.model import (
    Alarm,
    AlarmMetric,
    ScaledService,
    StepAdjustment,
    StepScalingPolicy,
    TargetTrackingPolicy,
    TreatMissingData,
)

_SERVICE: Final = "aws:ecs/service:Service"
_TASK_DEFINITION: Final = "aws:ecs/taskDefinition:TaskDefinition"
_TARGET: Final = "aws:appautoscaling/target:Target"
_POLICY: Final = "aws:appautoscaling/policy:Policy"
_ALARM: Final = "aws:cloudwatch/metricAlarm:MetricAlarm"

_PREDEFINED: Final = {
    "ECSServiceAverageCPUUtilization": "CPUUtilization",
    "ECSServiceAverageMemoryUtilization": "MemoryUtilization",
    "ALBRequestCountPerTarget": "RequestCountPerTarget",
}
"""The metric behind each predefined one."""


class NotSimulatedError(Exception):
    """A policy or alarm that cannot be simulated as it is; the text says which and why."""

    user_facing = True


def services(plan: Plan) -> tuple[ScaledService, ...]:
    """The ECS services of a plan by name. Raises NotSimulatedError for what would be simulated wrongly."""
    return tuple(_service(plan, one) for one in sorted(plan.of_type(_SERVICE), key=lambda one: one.name))


def _depends(resource: PlannedResource, key: str, on: PlannedResource) -> bool:
    """Whether a property is made of another resource's outputs."""
    return on.urn in resource.registration.property_dependencies.get(key, ())


def _using(plan: Plan, type_: str, key: str, of: PlannedResource) -> list[PlannedResource]:
    """The resources of a type that have an output of another one in a property."""
    return [one for one in plan.of_type(type_) if _depends(one, key, of)]


def _service(plan: Plan, service: PlannedResource) -> ScaledService:
    definitions = [one for one in plan.of_type(_TASK_DEFINITION) if _depends(service, "taskDefinition", one)]
    if not definitions:
        raise NotSimulatedError(f"{service.name} has no task definition in the plan: its size is not known")
    definition = definitions[0]
    target = next(iter(_using(plan, _TARGET, "resourceId", service)), None)
    desired = int(_known(service, "desiredCount"))
    policies = _using(plan, _POLICY, "resourceId", target) if target else []
    alarms = [alarm for policy in policies for alarm in _using(plan, _ALARM, "alarmActions", policy)]
    queues = {queue for alarm in alarms for queue in _queues(alarm)}
    strategies = service.inputs.get("capacityProviderStrategies", [])
    return ScaledService(
        name=service.name,
        min_capacity=int(_known(target, "minCapacity")) if target else desired,
        max_capacity=int(_known(target, "maxCapacity")) if target else desired,
        target_tracking=tuple(_tracking(p) for p in policies if p.inputs["policyType"] == "TargetTrackingScaling"),
        step_scaling=tuple(_stepping(plan, p) for p in policies if p.inputs["policyType"] == "StepScaling"),
        vcpu=float(_known(definition, "cpu")) / 1024,
        memory_gib=float(_known(definition, "memory")) / 1024,
        arm=definition.inputs.get("runtimePlatform", {}).get("cpuArchitecture") == "ARM64",
        on_demand_base=sum(int(one.get("base", 0)) for one in strategies if one["capacityProvider"] == "FARGATE"),
        spot=any(one["capacityProvider"] == "FARGATE_SPOT" and one.get("weight", 0) for one in strategies),
        queue=min(queues) if queues else None,
    )


def _tracking(policy: PlannedResource) -> TargetTrackingPolicy:
    config = _known(policy, "targetTrackingScalingPolicyConfiguration")
    predefined = config.get("predefinedMetricSpecification", {}).get("predefinedMetricType")
    if predefined not in _PREDEFINED:
        raise NotSimulatedError(f"{policy.name} tracks {predefined or 'a metric of its own'}, which is not simulated")
    return TargetTrackingPolicy(
        name=policy.name,
        metric=_PREDEFINED[predefined],
        target_value=float(config["targetValue"]),
        scale_out_cooldown=int(config.get("scaleOutCooldown", 300)),
        scale_in_cooldown=int(config.get("scaleInCooldown", 300)),
        scale_in=not config.get("disableScaleIn", False),
    )


def _stepping(plan: Plan, policy: PlannedResource) -> StepScalingPolicy:
    config = _known(policy, "stepScalingPolicyConfiguration")
    return StepScalingPolicy(
        name=policy.name,
        adjustment_type=str(config["adjustmentType"]),
        step_adjustments=tuple(
            StepAdjustment(
                lower_bound=_bound(one.get("metricIntervalLowerBound")),
                upper_bound=_bound(one.get("metricIntervalUpperBound")),
                scaling_adjustment=int(one["scalingAdjustment"]),
            )
            for one in config.get("stepAdjustments", [])
        ),
        cooldown=int(config.get("cooldown", 300)),
        min_adjustment_magnitude=int(config.get("minAdjustmentMagnitude", 0)),
        alarms=tuple(_alarm(one) for one in _using(plan, _ALARM, "alarmActions", policy)),
    )


def _alarm(alarm: PlannedResource) -> Alarm:
    inputs = alarm.inputs
    periods = int(inputs["evaluationPeriods"])
    return Alarm(
        name=alarm.name,
        metric=_metric(alarm),
        comparison_operator=str(inputs["comparisonOperator"]),
        threshold=float(inputs["threshold"]),
        evaluation_periods=periods,
        datapoints_to_alarm=int(inputs.get("datapointsToAlarm") or periods),
        treat_missing_data=cast("TreatMissingData", inputs.get("treatMissingData", "missing")),
    )


def _metric(alarm: PlannedResource) -> AlarmMetric:
    queries = alarm.inputs.get("metricQueries")
    if not queries:
        _must_be_a_minute(alarm, alarm.inputs["period"])
        return AlarmMetric(metrics={"value": str(alarm.inputs["metricName"])}, expression="value")
    expressions = [one for one in queries if one.get("expression")]
    metrics = {str(one["id"]): one["metric"] for one in queries if one.get("metric")}
    if len(expressions) != 1 or not expressions[0].get("returnData"):
        raise NotSimulatedError(f"{alarm.name} has {len(expressions)} expressions; one over plain metrics is simulated")
    for metric in metrics.values():
        _must_be_a_minute(alarm, metric["period"])
    names = {id_: str(one["metricName"]) for id_, one in metrics.items()}
    return AlarmMetric(metrics=names, expression=str(expressions[0]["expression"]))


def _must_be_a_minute(alarm: PlannedResource, period: float) -> None:
    if int(period) != 60:
        raise NotSimulatedError(f"{alarm.name} has a period of {int(period)} s; only minutes are simulated")


def _queues(alarm: PlannedResource) -> set[str]:
    dimensions = [alarm.inputs.get("dimensions") or {}]
    dimensions += [(one.get("metric") or {}).get("dimensions") or {} for one in alarm.inputs.get("metricQueries") or []]
    return {str(one["Queue"]) for one in dimensions if "Queue" in one}


def _known(resource: PlannedResource, key: str) -> Any:
    value = resource.inputs.get(key)
    if isinstance(value, Secret):
        value = value.value
    if value is None or value is UNKNOWN:
        raise NotSimulatedError(f"{key} of {resource.name} is not known in a plan, so it cannot be simulated")
    return value


def _bound(text: Any) -> float | None:
    return None if text in (None, "") else float(text)
