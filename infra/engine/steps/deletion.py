"""The order in which resources go: each before what it depends on, as many at once as that allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from infra.engine.state.snapshot import ResourceState
from infra.engine.urns import provider_urn


def needs(resource: ResourceState) -> set[str]:
    """The URNs that must exist as long as the resource does."""
    urns = set(resource.dependencies)
    for more in resource.property_dependencies.values():
        urns.update(more)
    for urn in (resource.parent, resource.extra.get("deletedWith")):
        if urn:
            urns.add(urn)
    if resource.provider:
        urns.add(provider_urn(resource.provider))
    return urns


def delete_in_order(
    condemned: Sequence[ResourceState],
    delete: Callable[[ResourceState], bool],
    *,
    parallel: int,
) -> bool:
    """Delete all; dependents first. After a `delete` that returns False nothing new begins. Whether all are gone."""
    remaining = list(condemned)
    running: dict[Future[bool], ResourceState] = {}
    going_on = True
    with ThreadPoolExecutor(max(1, min(parallel, len(remaining))), thread_name_prefix="delete") as pool:
        while remaining or running:
            if going_on:
                for resource in _free(remaining, [*remaining, *running.values()]):
                    remaining.remove(resource)
                    running[pool.submit(delete, resource)] = resource
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                going_on = future.result() and going_on
                del running[future]
            if not going_on:
                remaining.clear()
    return going_on


def _free(candidates: Sequence[ResourceState], standing: Sequence[ResourceState]) -> list[ResourceState]:
    """Those of `candidates` that nothing standing needs, the youngest first."""
    needed: dict[str, int] = {}
    for resource in standing:
        for urn in needs(resource) - {resource.urn}:
            needed[urn] = needed.get(urn, 0) + 1
    return [resource for resource in reversed(candidates) if not needed.get(resource.urn)]
