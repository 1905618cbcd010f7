"""A resource that is done when a service's rollout is, and fails when it is not."""

from __future__ import annotations

from infra.aws.control.providers import RolloutProvider
from infra.dynamic_provider import DynamicResource


class RolloutCheck(DynamicResource, module="slipway", name="EcsRollout"):
    """Waits until the service's deployment of `task_definition` is complete and the primary one, and fails otherwise,
    with the reason, the tasks that stopped, and their last log lines.

    Inputs: `region`; `cluster`, `service` and `task_definition`, all ARNs; `timeout` in seconds; and `triggers`, empty
    and read by nothing, but in the states of the stacks that exist. Output: `deployment`, the ARN of the service
    deployment.

    Put it after the service, with `service` from its outputs, so that it begins when the update was accepted. A changed
    task definition repeats it. A preview and a destroy make no call.
    """

    provider = RolloutProvider()
    computed = ("deployment",)
