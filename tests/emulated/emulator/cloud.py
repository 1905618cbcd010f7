"""One pretended AWS account: moto, the stand-ins for what moto lacks, and a record of every call.

Everything hangs on botocore's own events, so that any boto3 client of this process is served and checked alike: the
provider's, the tests' and those that the stack's own dynamic resources open.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import boto3
import botocore.config
import botocore.handlers
from moto import mock_aws
from moto.backends import get_backend

from emulator import standins
from emulator.fargate import Fargate
from emulator.model import check_request, check_response

ACCOUNT: Final = "123456789012"
_PARAMS: Final = "slipway_params"
_open: list[Cloud] = []


def current() -> Cloud:
    """The account that is open now."""
    return _open[-1]


@dataclass(frozen=True)
class Made:
    """One call that any client of this process has made."""

    service: str
    operation: str
    params: Mapping[str, Any]


class _Answer:
    status_code = 200


class _Refusal:
    status_code = 400


@dataclass
class Cloud:
    region: str
    calls: list[Made] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    """moto's backends are not made for several threads."""
    store: standins.Store = field(default_factory=dict)
    fargate: Fargate = field(init=False)
    refused: dict[str, str] = field(default_factory=dict)
    """Operations that the account may not do for now, each with AWS's code for it."""
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fargate = Fargate(self.client)

    def client(self, service: str, region: str | None = None) -> Any:
        """The service's client, of another region than the account's if named."""
        key = (service, region or self.region)
        with self.lock:
            if key not in self._clients:
                # A request that the pretended service refuses is refused again: no second try, no wait.
                config = botocore.config.Config(retries={"max_attempts": 0})
                self._clients[key] = boto3.client(service, region_name=key[1], config=config)
            return self._clients[key]

    def call(
        self, service: str, operation: str, params: Mapping[str, Any], *, region: str | None = None
    ) -> dict[str, Any]:
        client = self.client(service, region)
        method = next(key for key, name in client.meta.method_to_api_mapping.items() if name == operation)
        with self.lock:
            answer: dict[str, Any] = getattr(client, method)(**params)
        return answer

    def add_zone(self, id_: str, name: str) -> None:
        """A hosted zone under an id of our choice, which moto does not let a call choose."""
        made = self.call("route53", "CreateHostedZone", {"Name": name, "CallerReference": id_})
        zones = get_backend("route53")[ACCOUNT]["aws"].zones
        zone = zones.pop(made["HostedZone"]["Id"].rsplit("/", 1)[-1])
        zone.resource_id, zones[id_] = id_, zone

    def made(self, operation: str) -> list[Mapping[str, Any]]:
        return [call.params for call in self.calls if call.operation == operation]

    def before_build(self, params: Mapping[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        check_request(model.service_model.service_name, model.name, params)
        context[_PARAMS] = copy.deepcopy(dict(params))
        self.calls.append(Made(model.service_model.service_name, model.name, context[_PARAMS]))

    def before_call(self, model: Any, context: dict[str, Any], **_: Any) -> Any:
        service, operation = model.service_model.service_name, model.name
        if operation in self.refused:
            code = self.refused[operation]
            return _Refusal(), {"Error": {"Code": code, "Message": "refused by the test"}, "ResponseMetadata": {}}
        stand_in = standins.TABLE.get((service, operation))
        if stand_in is None:
            return None
        try:
            answer = stand_in.answer(self, context[_PARAMS])
        except standins.Refused as error:
            return _Refusal(), {"Error": {"Code": error.code, "Message": str(error)}, "ResponseMetadata": {}}
        if answer is None:  # it leaves this one to moto
            return None
        check_response(service, operation, answer)
        return _Answer(), {**answer, "ResponseMetadata": {"HTTPStatusCode": 200, "RetryAttempts": 0}}

    def after_call(self, parsed: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        if "Error" not in parsed and model.service_model.service_name == "ecs":
            self.fargate.observe(model.name, context.get(_PARAMS, {}), parsed)


@contextmanager
def cloud(region: str) -> Iterator[Cloud]:
    """A fresh, empty account for as long as the context is open."""
    # moto has the policies that AWS maintains: attaching one that does not exist is refused.
    with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        made = Cloud(region)
        handlers = [
            ("before-parameter-build", made.before_build),
            ("before-call", made.before_call),
            ("after-call", made.after_call),
        ]
        botocore.handlers.BUILTIN_HANDLERS.extend(handlers)
        former, boto3.DEFAULT_SESSION = boto3.DEFAULT_SESSION, None
        _open.append(made)
        try:
            yield made
        finally:
            _open.remove(made)
            boto3.DEFAULT_SESSION = former
            for handler in handlers:
                botocore.handlers.BUILTIN_HANDLERS.remove(handler)
