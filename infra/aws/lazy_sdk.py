"""Lazy imports: loads no more of the AWS SDK than the stack uses.

`pulumi_aws` loads a service at its first use, but then all of it: some hundred modules of EC2 for a subnet. For this
stack that is over a second of the two that a plan may take. Its generated packages have one module for each resource,
named after it, so that the module of a class can be found by its name.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import threading
import types
from importlib.machinery import ModuleSpec
from typing import Any, Final

from infra.garbage_collection import gc_paused

_SDK: Final = "pulumi_aws"
_lock = threading.RLock()


SERVICES: Final = (
    *("acm", "appautoscaling", "backup", "budgets", "cloudwatch", "ec2", "ecr", "ecs", "elasticache", "iam", "kms"),
    *("lb", "rds", "route53", "s3", "scheduler", "secretsmanager", "sns", "sqs", "vpc", "wafv2"),
)
"""The services that the stack uses. One that is missing here is loaded as a whole."""


def load_services_lazily() -> None:
    """Have the SDK load one resource at a time from here on. A service that is loaded already stays as it is."""
    sdk = importlib.import_module(_SDK)
    for service in SERVICES:
        name = f"{_SDK}.{service}"
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ModuleNotFoundError(f"the AWS SDK has no service {service}", name=name)
        if type(sys.modules.get(name)) in (types.ModuleType, _LazyService):
            continue  # it is loaded, or lazy already; the SDK's own stand-in is of another type
        sys.modules[name] = _LazyService(spec)
        setattr(sdk, service, sys.modules[name])


class _LazyService(types.ModuleType):
    """Stands in for a service's package. What is not a resource or a function of its own loads the whole after all."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        self.__spec__ = spec
        self.__package__ = spec.name
        self.__file__ = spec.origin
        self.__path__ = list(spec.submodule_search_locations or ())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        # Thousands of classes at once make garbage collection search again and again for what none of them is.
        with _lock, gc_paused():
            if (module := self._submodule(_module_of(name))) is not None and hasattr(module, name):
                found = getattr(module, name)
            elif (module := self._submodule(name)) is not None:
                found = module
            else:
                found = self._whole(name)
        self.__dict__[name] = found
        return found

    def _submodule(self, name: str) -> types.ModuleType | None:
        full = f"{self.__name__}.{name}"
        if full not in sys.modules and importlib.util.find_spec(full) is None:
            return None
        return importlib.import_module(full)

    def _whole(self, name: str) -> Any:
        assert self.__spec__ is not None
        assert self.__spec__.loader is not None
        self.__class__ = types.ModuleType  # type: ignore[assignment]  # a module from here on like any other
        self.__spec__.loader.exec_module(self)
        if name not in self.__dict__:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)
        return self.__dict__[name]


def _module_of(name: str) -> str:
    """``VpcEndpoint`` and ``VpcEndpointArgs`` are in ``vpc_endpoint``, ``get_vpc_output`` is in ``get_vpc``."""
    if name.startswith("get_"):
        return name.removesuffix("_output")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.removesuffix("Args")).lower()
