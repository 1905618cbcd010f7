"""What a failed rollout left behind, logged beside the provider's own error.

The provider waits for a rollout too, and fails the service's update with ECS's status and nothing else. `RolloutCheck`
comes after the service, and is then never reached.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pulumi
from pulumi import ErrorHook, ErrorHookArgs, ResourceHookBinding

from infra.aws.control.errors import ControlError
from infra.aws.iam import place


def explained(service: str) -> ResourceHookBinding:
    """The hooks for an `ecs.Service`: when its creation or update fails, why its tasks stopped and their last log lines
    are logged as well. `service` is its plain name, of which there is one in a stack."""
    return ResourceHookBinding(on_error=[ErrorHook(f"explain-rollout-{service}", _Explainer(service).log)])


class _Explainer:
    def __init__(self, service: str) -> None:
        self._service = service

    async def log(self, args: ErrorHookArgs) -> bool:
        """Never asks for another try, which the circuit breaker has had already."""
        if args.failed_operation in ("create", "update") and args.new_inputs:
            # In a thread: the calls block, and the program's other resources are under way on this loop.
            text = await asyncio.to_thread(self._text, args.id, args.new_inputs)
            if text:
                pulumi.log.error(f"What the failed rollout of {self._service} left behind:\n{text}")
        return False

    def _text(self, id_: str, inputs: Any) -> str:
        from infra.aws.control.clients import connect
        from infra.aws.control.rollout_waiter import RolloutTarget, evidence

        name, cluster, wanted = id_ or inputs.get("name"), inputs.get("cluster"), inputs.get("taskDefinition")
        if not (isinstance(name, str) and isinstance(cluster, str) and isinstance(wanted, str)):
            return ""
        try:
            return evidence(
                connect(place(cluster).region), RolloutTarget(cluster=cluster, service=name, task_definition=wanted)
            )
        except ControlError as error:
            return f"  It could not be looked at: {error}"
        except Exception as error:  # noqa: BLE001 - whatever fails here must not stand in for the error it explains
            return f"  It could not be looked at: {type(error).__name__}: {error}"
