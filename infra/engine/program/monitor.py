"""The object that answers as Pulumi's resource monitor.

The SDK calls its methods from several threads at once. They translate: requests are read strictly, and what the program
registers goes to a `Handler`, which is a plan or a deployment.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from google.protobuf import empty_pb2
from pulumi.runtime.proto import callback_pb2, provider_pb2, resource_pb2

from infra.engine.display.events import Severity
from infra.engine.errors import EngineError
from infra.engine.program.callbacks import Hook, Hooks
from infra.engine.program.engine_service import EngineService
from infra.engine.program.registration import Registration, read_registration
from infra.engine.program.wire import WireError, from_struct, to_struct

FEATURES: Final = (
    resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACEMENT_TRIGGER,
    resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
    resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACE_WITH,
    # The monitor refuses transforms itself: without this feature the SDK says that the Pulumi CLI is too old.
    resource_pb2.RESOURCE_MONITOR_FEATURE_TRANSFORMS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_PARAMETERIZATION,
    resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_HOOKS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_ERROR_HOOKS,
)
"""Only what is implemented. Without output values (2) and resource references (1) inputs arrive plain."""


@dataclass(frozen=True, kw_only=True)
class RegisterResult:
    """The answer to a registration. Without an id the id is unknown, which a preview may say."""

    urn: str
    id: str = ""
    outputs: Mapping[str, Any] = field(default_factory=dict)
    result: Literal["success", "fail", "skip"] = "success"
    unknown: bool = False
    """The resource was not made and nothing failed: the program sees its outputs as unknown."""


@dataclass(frozen=True, kw_only=True)
class InvokeRequest:
    """A function of a provider that the program calls."""

    token: str
    args: Mapping[str, Any]
    provider: str | None
    version: str | None


class Handler(Protocol):
    """What a monitor serves. All methods may be called from several threads at once."""

    def register(self, goal: Registration) -> RegisterResult: ...
    def register_outputs(self, urn: str, outputs: Mapping[str, Any]) -> None: ...
    def read(self, goal: Registration, id_: str) -> RegisterResult:
        """Answer for a resource that the program reads by its id and does not own."""

    def invoke(self, request: InvokeRequest) -> Mapping[str, Any] | None:
        """The function's result; None when it cannot be known yet."""

    def finish(self) -> None:
        """The program has registered all; its hooks can be called until this returns."""

    def abandon(self) -> None:
        """The program has failed: begin nothing new."""

    def log(self, severity: Severity, message: str, *, urn: str | None, ephemeral: bool) -> None: ...


DEFAULT_PARALLEL: Final = 16


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is deployed: the stack, its config, and whether this is only a preview."""

    project: str
    stack: str
    config: Mapping[str, str]
    secret_keys: frozenset[str]
    dry_run: bool
    parallel: int = DEFAULT_PARALLEL


class ResourceMonitor:
    """Answers as ``pulumirpc.ResourceMonitor`` for one run of the program."""

    def __init__(self, target: Target, handler: Handler, hooks: Hooks) -> None:
        self.target = target
        self._hooks = hooks
        self._handler = handler
        self.log = EngineService(handler.log)
        """The counterpart that answers as ``pulumirpc.Engine``."""
        self._package_numbers = itertools.count()
        self.errors: list[Exception] = []
        """What went wrong in a request, oldest first: the program may hide it behind errors that follow from it."""

    def abandon(self) -> None:
        """Tell the handler that the program has failed."""
        self._handler.abandon()

    def first_error(self, *, besides: type[Exception] | tuple[()] = ()) -> Exception | None:
        """Of what went wrong, but for `besides`, what to report: an error meant for users before any other."""
        errors = [error for error in self.errors if not isinstance(error, besides)]
        return next((error for error in errors if isinstance(error, EngineError)), errors[0] if errors else None)

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except WireError as error:
            noted = EngineError(f"the program sent {error}: use the Pulumi CLI")
            self.errors.append(noted)
            raise noted from None
        except Exception as error:
            self.errors.append(error)
            raise

    def GetDeploymentInfo(self, _: empty_pb2.Empty) -> resource_pb2.DeploymentInfo:
        target = self.target
        return resource_pb2.DeploymentInfo(
            project=target.project,
            stack=target.stack,
            organization="organization",
            config=target.config,
            configSecretKeys=sorted(target.secret_keys),
            dryRun=target.dry_run,
            parallel=target.parallel,
            supportedFeatures=FEATURES,
        )

    def RegisterResource(self, request: resource_pb2.RegisterResourceRequest) -> resource_pb2.RegisterResourceResponse:
        with self._noted():
            done = self._handler.register(read_registration(request))
            return resource_pb2.RegisterResourceResponse(
                urn=done.urn,
                id=done.id,
                object=to_struct(done.outputs),
                # The Python SDK has no result but these two: to its program a skipped resource is a failed one.
                result=resource_pb2.SUCCESS if done.result == "success" else resource_pb2.FAIL,
                unknown=done.unknown,
            )

    def RegisterResourceOutputs(self, request: resource_pb2.RegisterResourceOutputsRequest) -> empty_pb2.Empty:
        with self._noted():
            self._handler.register_outputs(request.urn, from_struct(request.outputs))
        return empty_pb2.Empty()

    def ReadResource(self, request: resource_pb2.ReadResourceRequest) -> resource_pb2.ReadResourceResponse:
        with self._noted():
            done = self._handler.read(
                Registration(
                    type=request.type,
                    name=request.name,
                    custom=True,
                    parent=request.parent or None,
                    inputs=from_struct(request.properties),
                    dependencies=tuple(request.dependencies),
                    provider=request.provider or None,
                    version=request.version or None,
                    additional_secret_outputs=tuple(request.additionalSecretOutputs),
                ),
                request.id,
            )
            response = resource_pb2.ReadResourceResponse(urn=done.urn, properties=to_struct(done.outputs))
            if "id" in response.DESCRIPTOR.fields_by_name:
                response.id = done.id
            return response

    def ExistsResource(self, request: Any) -> Any:
        with self._noted():
            raise EngineError(f"asking whether {request.type} {request.id!r} exists needs the Pulumi CLI")

    def Invoke(self, request: resource_pb2.ResourceInvokeRequest) -> resource_pb2.ResourceInvokeResponse:
        with self._noted():
            result = self._handler.invoke(
                InvokeRequest(
                    token=request.tok,
                    args=from_struct(request.args),
                    provider=request.provider or None,
                    version=request.version or None,
                )
            )
            response = resource_pb2.ResourceInvokeResponse(unknown=result is None)
            getattr(response, "return").CopyFrom(to_struct(result or {}))
            return response

    def Call(self, request: resource_pb2.ResourceCallRequest) -> provider_pb2.CallResponse:
        with self._noted():
            raise EngineError(
                f"the program calls the method {request.tok}, which only a provider plugin can answer: "
                "use the Pulumi CLI"
            )

    def RegisterPackage(self, request: resource_pb2.RegisterPackageRequest) -> resource_pb2.RegisterPackageResponse:
        package = request.parameterization.name or request.extension.name or request.name
        version = request.parameterization.version or request.version
        return resource_pb2.RegisterPackageResponse(ref=f"{package}@{version}#{next(self._package_numbers)}")

    def RegisterStackTransform(self, _: callback_pb2.Callback) -> empty_pb2.Empty:
        with self._noted():
            raise EngineError("the program registers a transform: use the Pulumi CLI")

    def RegisterStackInvokeTransform(self, _: callback_pb2.Callback) -> empty_pb2.Empty:
        with self._noted():
            raise EngineError("the program registers an invoke transform: use the Pulumi CLI")

    def RegisterResourceHook(self, request: resource_pb2.RegisterResourceHookRequest) -> empty_pb2.Empty:
        return self._add_hook(request, on_dry_run=request.on_dry_run, ignore_errors=request.ignore_errors)

    def RegisterErrorHook(self, request: resource_pb2.RegisterErrorHookRequest) -> empty_pb2.Empty:
        return self._add_hook(request)

    def _add_hook(self, request: Any, *, on_dry_run: bool = False, ignore_errors: bool = False) -> empty_pb2.Empty:
        with self._noted():
            hook = Hook(
                name=request.name, callback=request.callback, on_dry_run=on_dry_run, ignore_errors=ignore_errors
            )
            self._hooks.add(hook)
        return empty_pb2.Empty()

    def SignalAndWaitForShutdown(self, _: empty_pb2.Empty) -> empty_pb2.Empty:
        with self._noted():
            self._handler.finish()
        return empty_pb2.Empty()
