"""Deletes resources: what the program no longer registers, and what a replacement needs out of the way.

Each goes before what it depends on, as many at once as that allows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from infra.engine.providers.client import OperationError, ProviderClient
from infra.engine.state.snapshot import ResourceState
from infra.engine.steps.context import DeploymentContext
from infra.engine.steps.executor import Halted
from infra.engine.urns import is_provider, parse_urn, provider_urn
from infra.engine.values import UNKNOWN
from infra.property_paths import covers, parse_path


class Deletion:
    def __init__(self, context: DeploymentContext) -> None:
        self._context = context

    def delete_unregistered(self) -> None:
        """Delete all that this run has not registered, dependents first; nothing when any of it must not be deleted."""
        context = self._context
        deletes = context.snapshots.untouched()
        if not self._may_delete(deletes):
            return
        context.deleted.update(resource.urn for resource in deletes if not resource.delete)
        delete_in_order(deletes, self._try_delete, parallel=context.parallel)

    def _may_delete(self, deletes: Sequence[ResourceState]) -> bool:
        context = self._context
        protected = [resource for resource in deletes if resource.protect and not resource.delete]
        for resource in protected:
            context.fail(
                resource.urn,
                f"{parse_urn(resource.urn).name} is protected and would be deleted. To let it go, set protect=False in "
                "the program and run `up` first; to keep it, bring it back into the program",
            )
        missing = [
            resource
            for resource in deletes
            if self._needs_provider(resource) and not context.providers.client(resource)
        ]
        context.report_missing_providers(missing)
        return not protected and not missing

    def _try_delete(self, resource: ResourceState) -> bool:
        try:
            self._delete(resource, replacing=resource.delete or resource.pending_replacement)
        except (OperationError, Halted):
            return False
        return True

    def _delete(self, resource: ResourceState, *, replacing: bool, keep_for_replacement: bool = False) -> None:
        """Delete one resource; raises OperationError or Halted."""
        self._context.executor.delete(
            resource,
            self._context.providers.client(resource) if self._needs_provider(resource) else None,
            replacing=replacing,
            keep_for_replacement=keep_for_replacement,
            reason=self._skip_reason(resource),
        )

    def _needs_provider(self, resource: ResourceState) -> bool:
        return resource.custom and not is_provider(resource.type) and not self._skip_reason(resource)

    def _skip_reason(self, resource: ResourceState) -> str:
        """Why the resource only leaves the state, and its provider is not called."""
        if resource.external:
            return "the stack only read it"
        if resource.retain_on_delete:
            return "it is retained: it leaves the state and stays where it is"
        if resource.pending_replacement:
            return "it is deleted already"
        deleted_with = resource.extra.get("deletedWith")
        if deleted_with and deleted_with in self._context.deleted:
            return f"it goes with {parse_urn(deleted_with).name}"
        return ""

    def delete_before_replace(self, root: ResourceState) -> None:
        """Delete a resource that must go before its successor is made, and first those that would be replaced with it.

        They stay in the state, marked, until the program registers them again.
        """
        context = self._context
        dependents = self._dependent_replacements(root)
        for resource in dependents:
            if resource.protect:
                raise context.fail(
                    resource.urn,
                    f"{parse_urn(resource.urn).name} is protected, and replacing {parse_urn(root.urn).name} would "
                    "delete it. Set protect=False in the program and run `up` first",
                )
        for resource in reversed(dependents):
            with context.locked(resource.urn):
                if resource.pending_replacement or context.registrations.find(resource.urn) is not None:
                    continue
                self._delete(resource, replacing=True, keep_for_replacement=True)
                context.deleted.add(resource.urn)
        context.deleted.add(root.urn)
        if not root.pending_replacement:
            self._delete(root, replacing=True, keep_for_replacement=True)

    def _dependent_replacements(self, root: ResourceState) -> list[ResourceState]:
        """What a replacement of `root` replaces, in dependency order: mere ``depends_on`` does not count."""
        context = self._context
        urns = {root.urn}
        found = []
        for resource in context.snapshots.untouched():
            registered = context.registrations.find(resource.urn) is not None
            if not resource.custom or resource.external or resource.delete or registered:
                continue
            if self._replaced_with(resource, urns):
                urns.add(resource.urn)
                found.append(resource)
        return found

    def _replaced_with(self, resource: ResourceState, urns: set[str]) -> bool:
        if resource.provider and provider_urn(resource.provider) in urns:
            return True
        if resource.extra.get("deletedWith") in urns or urns & set(resource.extra.get("replaceWith", ())):
            return True
        touched = {key for key, needed in resource.property_dependencies.items() if urns & set(needed)}
        client = self._context.providers.client(resource)
        if not touched or client is None:
            return False
        inputs = {key: UNKNOWN if key in touched else value for key, value in resource.inputs.items()}
        diff = ProviderClient(client.provider, preview=True).diff(resource, inputs)
        on_changes = [parse_path(text) for text in resource.extra.get("replaceOnChanges", ())]
        return bool(diff.replaces) or any(covers(path, (key,)) for path in on_changes for key in touched)


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
    deletes: Sequence[ResourceState],
    delete: Callable[[ResourceState], bool],
    *,
    parallel: int,
) -> bool:
    """Delete all; dependents first. After a `delete` that returns False nothing new begins. Whether all are gone."""
    remaining = list(deletes)
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
