"""Which operations moto answers."""

from __future__ import annotations

import functools
import importlib
import inspect

from botocore import xform_name

_MODULES = {"application-autoscaling": "applicationautoscaling"}


@functools.cache
def _methods(service: str) -> frozenset[str]:
    module = importlib.import_module(f"moto.{_MODULES.get(service, service)}.responses")
    found = {name.lower() for _, cls in inspect.getmembers(module, inspect.isclass) for name in dir(cls)}
    return frozenset(found)


def moto_has(service: str, operation: str) -> bool:
    return bool({xform_name(operation), operation.lower()} & _methods(service))
