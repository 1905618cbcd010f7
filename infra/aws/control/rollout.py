"""A resource that is done when a service's rollout is, and fails when it is not."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra.aws.control.providers import RolloutProvider
from infra.dynamic_provider import DynamicResource


@dataclass(frozen=True, kw_only=True)
class RolloutCheckArgs:
    """`cluster`, `service` and `task_definition` are ARNs."""

    region: str
    cluster: pulumi.Input[str]
    service: pulumi.Input[str]
    task_definition: pulumi.Input[str]
    timeout: int
    """Seconds."""


class RolloutCheck(DynamicResource, module="slipway", name="EcsRollout"):
    """Waits until the service's deployment of `task_definition` is complete and the primary one, and fails otherwise,
    with the reason, the tasks that stopped, and their last log lines.

    Put it after the service, with `service` from its outputs, so that it begins when the update was accepted. A changed
    task definition repeats it. A preview and a destroy make no call. Outputs: `deployment`, the ARN of the service
    deployment.
    """

    provider = RolloutProvider()
    computed = ("deployment",)

    def __init__(self, name: str, args: RolloutCheckArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        # `triggers` is empty and read by nothing: it is among the inputs of the stacks that exist.
        super().__init__(name, opts=opts, **vars(args), triggers={})
