"""Runs the hooks of a resource around its operations, with Pulumi's meaning of their failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from infra.engine.display.reporter import Reporter
from infra.engine.program.callbacks import CallbackError, HookCall, Hooks
from infra.engine.providers.client import OperationError
from infra.engine.state.snapshot import ResourceState

T = TypeVar("T")

_MOST_RETRIES: Final = 100


class HookRunner:
    def __init__(self, hooks: Hooks, reporter: Reporter, *, dry_run: bool) -> None:
        self._hooks = hooks
        self._reporter = reporter
        self._dry_run = dry_run

    def before(self, kind: str, state: ResourceState, call: HookCall) -> None:
        """Run the ``BeforeCreate`` (or Update, Delete) hooks; raises OperationError when the operation must not be."""
        if failure := self._run(kind, state, call):
            raise OperationError(failure)

    def after(self, kind: str, state: ResourceState, call: HookCall) -> None:
        """Run the ``After...`` hooks. What was done stays done; a failure is one of the deployment."""
        if failure := self._run(kind, state, call):
            self._reporter.failed(failure, urn=state.urn)

    def retrying(self, operation: str, state: ResourceState, call: HookCall, act: Callable[[], T]) -> T:
        """Run a provider's operation, again as long as an error hook of the resource wants it."""
        errors: list[str] = []
        while True:
            try:
                return act()
            except OperationError as error:
                errors.insert(0, str(error))
                if len(errors) > _MOST_RETRIES or not self._wants_retry(operation, state, call, errors):
                    raise
                self._reporter.say(
                    "warning", f"trying to {operation} it again, as its error hook asks: {error}", urn=state.urn
                )

    def _wants_retry(self, operation: str, state: ResourceState, call: HookCall, errors: list[str]) -> bool:
        names = _names(state, "OnError")
        try:
            found = [self._hooks.find(name) for name in names]
            # All are asked: each may have something to note down.
            answers = [self._hooks.wants_retry(hook, call, operation=operation, errors=errors) for hook in found]
            return any(answers)
        except CallbackError as error:
            raise OperationError(f"{errors[0]}\nand then: {error}") from None

    def _run(self, kind: str, state: ResourceState, call: HookCall) -> str:
        """Run the hooks in turn up to the first that fails; its message, empty when none did."""
        for name in _names(state, kind):
            try:
                hook = self._hooks.find(name)
                if self._dry_run and not hook.on_dry_run:
                    continue
                error = self._hooks.run(hook, call)
            except CallbackError as problem:
                return str(problem)
            if error is None:
                continue
            failure = f"hook {name!r} failed: {error}"
            if not hook.ignore_errors:
                return failure
            self._reporter.say("warning", failure, urn=state.urn)
        return ""


def _names(state: ResourceState, kind: str) -> Sequence[str]:
    hooks: Mapping[str, Sequence[str]] = state.extra.get("resourceHooks", {})
    return hooks.get(kind, ())
