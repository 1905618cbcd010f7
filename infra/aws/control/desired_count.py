"""The number of replicas that a service goes back to when its scaling is taken away.

Scaling sets the number while it is there, and the program looks away from it (`ignore_changes`), so that nothing shows
as changed when scaling goes: a service that happened to run 40 replicas that day would run them for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import pulumi
from pulumi import ResourceHook, ResourceHookArgs, ResourceHookOptions

TARGET: Final = "-scaling-target"
"""What a service's scalable target is called after the service."""
_NAME: Final = "scaling-ends"
_GONE: Final = frozenset({"ClusterNotFoundException", "ServiceNotActiveException", "ServiceNotFoundException"})


def scaling_ends(region: str, fixed: Mapping[str, int]) -> ResourceHook:
    """The hook to bind before the deletion of every scalable target. `fixed` is the number of replicas of each service
    without scaling, by its plain name.

    Policies and alarms are made from the target's outputs and go before it: from then on nothing moves the number. The
    target is still there, so that what fails here, or is killed, is done by the next `up`. A destroy and a group that
    goes as a whole find no number, and change nothing. Register it once, whether or not anything scales: a target in
    the state may name it from a time when something did.
    """
    return ResourceHook(_NAME, _End(region, fixed).set, ResourceHookOptions(on_dry_run=False))


class _End:
    def __init__(self, region: str, fixed: Mapping[str, int]) -> None:
        self._region = region
        self._fixed = dict(fixed)

    async def set(self, args: ResourceHookArgs) -> None:
        """Raises ControlError when ECS refuses the number."""
        name = args.name.removesuffix(TARGET)
        if name in self._fixed:
            # In a thread: the call blocks, and the program's other hooks run on this loop.
            await asyncio.to_thread(self._call, name, self._fixed[name], dict(args.old_inputs or {}))

    def _call(self, name: str, replicas: int, target: Mapping[str, Any]) -> None:
        from infra.aws.control.clients import AwsError, connect

        _, cluster, service = str(target["resourceId"]).split("/")
        try:
            connect(self._region).call("ecs", "update_service", cluster=cluster, service=service, desiredCount=replicas)
        except AwsError as error:
            if error.code not in _GONE:
                raise
            return
        pulumi.log.info(f"{name} no longer scales: it runs {replicas} replicas.")
