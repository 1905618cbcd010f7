"""The proof that a deployment arrived."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
from pulumi.dynamic import Resource as DynamicResource

from .providers import RolloutProvider


class RolloutCheck(DynamicResource, module="slipway", name="EcsRollout"):
    """Waits until the service's deployment of `task_definition` is complete and the primary one, and fails otherwise,
    with the reason, the tasks that stopped, and their last log lines.

    Put it after the service, with `service` from its outputs, so that it begins when the update was accepted. A changed
    task definition or trigger repeats it. A preview and a destroy make no call. Outputs: `deployment`, the ARN of the
    service deployment.
    """

    deployment: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        region: str,
        cluster: pulumi.Input[str],
        service: pulumi.Input[str],
        task_definition: pulumi.Input[str],
        timeout: int,
        triggers: Mapping[str, pulumi.Input[str]] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`cluster` and `service` are ARNs, `timeout` is in seconds. `triggers` are other inputs of the service whose
        change makes ECS deploy anew: its networks, its load balancer."""
        properties = {
            "region": region,
            "cluster": cluster,
            "service": service,
            "task_definition": task_definition,
            "timeout": timeout,
            "triggers": dict(triggers or {}),
            "deployment": None,
        }
        super().__init__(RolloutProvider(), name, properties, opts)
