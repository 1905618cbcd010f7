"""Which packages this process has providers for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from infra.engine.errors import EngineError
from infra.engine.providers.base import Provider

INSTALL: Final = (
    "Install the Pulumi CLI (https://www.pulumi.com/docs/install/, or: curl -fsSL https://get.pulumi.com | sh) "
    "and run the same command again: it works on the same state."
)


class UnsupportedError(EngineError):
    """The stack has resources for which there is no provider in this process."""

    def __init__(self, packages: Mapping[str, str]) -> None:
        names = ", ".join(sorted(packages))
        examples = ", ".join(sorted(packages.values()))
        super().__init__(
            f"the stack needs provider plugins that only the Pulumi CLI can run: {names} (for {examples}). {INSTALL}"
        )


@dataclass(frozen=True, kw_only=True)
class ProviderContext:
    """What a provider is made with: the project's config, and the inputs of an explicit provider resource."""

    project: str
    stack: str
    config: Mapping[str, Any]
    inputs: Mapping[str, Any] = field(default_factory=dict)


ProviderFactory = Callable[[ProviderContext], Provider]


class ProviderRegistry:
    """The factories by package. `standard()` has the built-in ones; tests and emulators add theirs."""

    def __init__(self) -> None:
        self._factories: dict[str, ProviderFactory] = {}

    @classmethod
    def standard(cls) -> ProviderRegistry:
        """Dynamic resources, `random` and Pulumi's own resources."""
        registry = cls()
        registry.add("pulumi-python", _dynamic)
        registry.add("random", _random)
        registry.add("pulumi", _builtin)
        return registry

    def add(self, package: str, factory: ProviderFactory) -> None:
        """Serve a package, in place of what served it before."""
        self._factories[package] = factory

    def factory(self, package: str) -> ProviderFactory | None:
        return self._factories.get(package)


class Providers:
    """The providers of one deployment: each made once for each provider resource. Safe for several threads."""

    def __init__(self, registry: ProviderRegistry, context: ProviderContext) -> None:
        self._registry = registry
        self._context = context
        self._made: dict[tuple[str, str], Provider] = {}
        self._lock = threading.Lock()

    def get(self, package: str, *, reference: str = "", inputs: Mapping[str, Any] | None = None) -> Provider | None:
        """The provider of a package as the provider resource `reference` configures it; None when there is none."""
        factory = self._registry.factory(package)
        if factory is None:
            return None
        with self._lock:
            key = (package, reference)
            if key not in self._made:
                context = ProviderContext(
                    project=self._context.project,
                    stack=self._context.stack,
                    config=self._context.config,
                    inputs=inputs or {},
                )
                self._made[key] = factory(context)
            return self._made[key]


def _dynamic(context: ProviderContext) -> Provider:
    # Imported on first use: dill is slow to load, and a stack without dynamic resources does not need it.
    from infra.engine.providers.dynamic import DynamicProvider

    return DynamicProvider(context)


def _random(_: ProviderContext) -> Provider:
    from infra.engine.providers.random import RandomProvider

    return RandomProvider()


def _builtin(_: ProviderContext) -> Provider:
    from infra.engine.providers.builtin import BuiltinProvider

    return BuiltinProvider()
