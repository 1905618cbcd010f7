"""Whether a deployment has arrived, failed, or still has time: pure functions of what ECS says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from infra.aws.control.ecs_service import FAILED, Service, ServiceDeployment


class State(Enum):
    WAIT = "wait"
    DONE = "done"
    FAILED = "failed"
    UNSETTLED = "unsettled"
    """A contradiction that the next answer may resolve: ECS follows an eventual consistency model. It is a failure
    when it stays."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`text` says why, as a clause after "The rollout of <service>"."""

    state: State
    text: str = ""


_WAIT = Verdict(state=State.WAIT)
_DONE = Verdict(state=State.DONE)


def find(wanted: str, past: tuple[ServiceDeployment, ...]) -> ServiceDeployment | None:
    """The newest service deployment of the wanted task definition; `past` has the newest first."""
    return next((one for one in past if one.task_definition == wanted), None)


def judge(
    wanted: str, ours: ServiceDeployment | None, service: Service | None, past: tuple[ServiceDeployment, ...]
) -> Verdict:
    """`ours` is the deployment that brings the task definition `wanted`, None while it has not shown."""
    if service is None:
        return Verdict(state=State.UNSETTLED, text="failed: ECS knows no such service")
    if service.status != "ACTIVE":
        return Verdict(state=State.UNSETTLED, text=f"failed: the service is {service.status.lower() or 'gone'}")
    if ours is None:
        return _unlisted(wanted, service)
    newer = _newer(ours, past)
    if newer is not None:
        return Verdict(state=State.FAILED, text=_overtaken(wanted, newer))
    if ours.status in FAILED:
        return Verdict(state=State.FAILED, text=_why_failed(ours))
    if ours.status == "SUCCESSFUL":
        return _arrived(wanted, ours, service)
    return _WAIT


def _unlisted(wanted: str, service: Service) -> Verdict:
    """No service deployment of it: ECS keeps them for 90 days, and lists a new one some seconds late."""
    primary = service.primary
    if primary is None or primary.task_definition != wanted:
        runs = f"runs {short(primary.task_definition)}" if primary else "has no deployment"
        text = f"failed: no deployment of {short(wanted)} has begun, and the service {runs}. {_AGAIN}"
        return Verdict(state=State.UNSETTLED, text=text)
    if primary.rollout == "FAILED":
        return Verdict(state=State.FAILED, text=f"failed: {primary.reason.rstrip('.')}")
    return _DONE if primary.rollout == "COMPLETED" and len(service.deployments) == 1 else _WAIT


def _arrived(wanted: str, ours: ServiceDeployment, service: Service) -> Verdict:
    primary = service.primary
    if primary is None or primary.task_definition != wanted or service.current not in ("", ours.arn):
        runs = short(primary.task_definition) if primary else "nothing"
        text = f"ended well, but the service runs {runs}: it was changed again by something else. {_AGAIN}"
        return Verdict(state=State.UNSETTLED, text=text)
    if primary.rollout != "COMPLETED":
        text = f"ended well, but the primary deployment is {primary.rollout or 'in no known state'}"
        return Verdict(state=State.UNSETTLED, text=text)
    return _DONE


def _newer(ours: ServiceDeployment, past: tuple[ServiceDeployment, ...]) -> ServiceDeployment | None:
    """The deployment that came after ours: ECS then stops ours. A rollback is no deployment of its own."""
    arns = [one.arn for one in past]
    place = arns.index(ours.arn) if ours.arn in arns else 0
    return past[0] if place > 0 else None


def _overtaken(wanted: str, newer: ServiceDeployment) -> str:
    what = short(newer.task_definition) if newer.task_definition else "another revision"
    same = ", the same task definition," if newer.task_definition == wanted else ""
    return (
        f"was overtaken by a second deployment at the same time: {newer.arn} of {what}{same} came after it. "
        "Two people or pipelines deploy this service, or somebody changed it by hand. When that one has ended, run "
        "`pulumi up --refresh`."
    )


def _why_failed(ours: ServiceDeployment) -> str:
    end = {
        "ROLLBACK_SUCCESSFUL": "was rolled back, and the version before it serves again",
        "ROLLBACK_FAILED": "failed, and so did the rollback: look at the service now",
        "STOPPED": "was stopped",
    }[ours.status]
    if ours.alarms:
        cause = f"alarm {', '.join(ours.alarms)} went off"
    elif ours.breaker is not None:
        cause = f"the circuit breaker counted {ours.breaker[0]} failed tasks (threshold {ours.breaker[1]})"
    else:
        cause = (ours.reason or ours.rollback_reason or "ECS gives no reason").rstrip(".")
    return f"{end}: {cause}. {_AGAIN}"


_AGAIN = "Pulumi's state already has the new version: once the cause is mended, run `pulumi up --refresh`."


def short(task_definition: str) -> str:
    """``family:revision`` of an ARN."""
    return task_definition.rsplit("/", 1)[-1] or "nothing"
