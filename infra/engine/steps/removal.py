"""Removes resources: what the program no longer wants, and what a replacement needs out of the way."""

from __future__ import annotations

from collections.abc import Sequence

from infra.engine.property_paths import covers, parse_path
from infra.engine.providers.client import OperationError, ProviderClient
from infra.engine.state.snapshot import ResourceState
from infra.engine.steps.context import DeploymentContext
from infra.engine.steps.deletion import delete_in_order
from infra.engine.steps.executor import Halted
from infra.engine.urns import is_provider, parse_urn, provider_urn
from infra.engine.values import UNKNOWN


class Removal:
    def __init__(self, context: DeploymentContext) -> None:
        self._context = context

    def remove_rest(self) -> None:
        """Delete all that this run has not touched, dependents first; nothing when any of it may not go."""
        context = self._context
        condemned = context.snapshots.untouched()
        if not self._may_go(condemned):
            return
        context.going.update(resource.urn for resource in condemned if not resource.delete)
        delete_in_order(condemned, self._try_remove, parallel=context.parallel)

    def _may_go(self, condemned: Sequence[ResourceState]) -> bool:
        context = self._context
        protected = [resource for resource in condemned if resource.protect and not resource.delete]
        for resource in protected:
            context.fail(
                resource.urn,
                f"{parse_urn(resource.urn).name} is protected and would be deleted. To let it go, set protect=False in "
                "the program and run `up` first; to keep it, bring it back into the program",
            )
        lacking = [resource for resource in condemned if self._needs_provider(resource) and not self._client(resource)]
        context.lack_all(lacking)
        return not protected and not lacking

    def _try_remove(self, resource: ResourceState) -> bool:
        try:
            self.remove(resource, replacing=resource.delete or resource.pending_replacement)
        except (OperationError, Halted):
            return False
        return True

    def remove(self, resource: ResourceState, *, replacing: bool, keep_for_replacement: bool = False) -> None:
        """Delete one resource; raises OperationError or Halted."""
        self._context.executor.delete(
            resource,
            self._client(resource) if self._needs_provider(resource) else None,
            replacing=replacing,
            keep_for_replacement=keep_for_replacement,
            reason=self._spared(resource),
        )

    def _needs_provider(self, resource: ResourceState) -> bool:
        return resource.custom and not is_provider(resource.type) and not self._spared(resource)

    def _spared(self, resource: ResourceState) -> str:
        """Why nothing is done about what the resource stands for."""
        if resource.external:
            return "the stack only read it"
        if resource.retain_on_delete:
            return "it is retained: it leaves the state and stays where it is"
        if resource.pending_replacement:
            return "it is deleted already"
        deleted_with = resource.extra.get("deletedWith")
        if deleted_with and deleted_with in self._context.going:
            return f"it goes with {parse_urn(deleted_with).name}"
        return ""

    def _client(self, resource: ResourceState) -> ProviderClient | None:
        return self._context.sources.client(resource)

    def clear_for_replacement(self, root: ResourceState) -> None:
        """Delete a resource that must go before its successor is made, and first those that would be replaced with it.

        They stay in the state, marked, until the program registers them again.
        """
        context = self._context
        dependents = self._replaced_with(root)
        for resource in dependents:
            if resource.protect:
                raise context.fail(
                    resource.urn,
                    f"{parse_urn(resource.urn).name} is protected, and replacing {parse_urn(root.urn).name} would "
                    "delete it. Set protect=False in the program and run `up` first",
                )
        for resource in reversed(dependents):
            with context.claim(resource.urn):
                if resource.pending_replacement or context.registrations.goal(resource.urn) is not None:
                    continue
                self.remove(resource, replacing=True, keep_for_replacement=True)
                context.going.add(resource.urn)
        context.going.add(root.urn)
        if not root.pending_replacement:
            self.remove(root, replacing=True, keep_for_replacement=True)

    def _replaced_with(self, root: ResourceState) -> list[ResourceState]:
        """What a replacement of `root` replaces, in dependency order: mere ``depends_on`` does not count."""
        context = self._context
        urns = {root.urn}
        found = []
        for resource in context.snapshots.untouched():
            registered = context.registrations.goal(resource.urn) is not None
            if not resource.custom or resource.external or resource.delete or registered:
                continue
            if self._is_replaced(resource, urns):
                urns.add(resource.urn)
                found.append(resource)
        return found

    def _is_replaced(self, resource: ResourceState, urns: set[str]) -> bool:
        if resource.provider and provider_urn(resource.provider) in urns:
            return True
        if resource.extra.get("deletedWith") in urns or urns & set(resource.extra.get("replaceWith", ())):
            return True
        touched = {key for key, needed in resource.property_dependencies.items() if urns & set(needed)}
        client = self._client(resource)
        if not touched or client is None:
            return False
        inputs = {key: UNKNOWN if key in touched else value for key, value in resource.inputs.items()}
        diff = ProviderClient(client.provider, preview=True).diff(resource, inputs)
        on_changes = [parse_path(text) for text in resource.extra.get("replaceOnChanges", ())]
        return bool(diff.replaces) or any(covers(path, (key,)) for path in on_changes for key in touched)
