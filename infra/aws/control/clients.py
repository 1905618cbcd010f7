"""The AWS clients that the control resources use, and the clock that they wait by; both can be put in by a test.

The SDK is imported on the first call: a plan that only declares these resources never loads it.
"""

from __future__ import annotations

import importlib
import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from infra.aws.control.errors import ControlError
from infra.polling import Clock, SystemClock

FACTORY: Final = "SLIPWAY_AWS_CLIENTS"
"""Variable that names another factory, as ``module:function``: it gets the region and returns `Clients`."""

PATIENCE: Final = 300.0
"""Seconds for which a call is repeated while AWS throttles it or does not answer."""

_THROTTLED: Final = frozenset(
    [
        *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException"),
        *("TooManyRequestsException", "RequestLimitExceeded", "SlowDown", "EC2ThrottledException"),
        *("ServerException", "ServiceUnavailable", "ServiceUnavailableException", "InternalFailure", "InternalError"),
    ]
)
_NO_CREDENTIALS: Final = frozenset(
    [
        *("ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId"),
        *("InvalidSignatureException", "MissingAuthenticationToken", "RequestExpired"),
    ]
)
_DENIED: Final = frozenset(["AccessDeniedException", "AccessDenied", "UnauthorizedOperation"])


@dataclass(frozen=True, kw_only=True)
class Clients:
    """Botocore clients of one region. One set serves one operation: nothing is shared between threads."""

    region: str
    ecs: Any
    logs: Any
    clock: Clock = field(default_factory=SystemClock)

    def call(self, service: str, operation: str, /, **arguments: Any) -> Mapping[str, Any]:
        """One call, repeated while AWS is too busy for it. Raises `AwsError` for any other refusal.

        Every call made here may be repeated: reads, StopTask, UpdateService with a number, and RunTask with its client
        token.
        """
        method = getattr(getattr(self, service), operation)
        return _patiently(lambda: method(**arguments), f"{service}:{_camel(operation)}", self.clock)

    def pages(self, service: str, operation: str, key: str, /, **arguments: Any) -> list[Any]:
        """The items of all pages of a listing."""
        items: list[Any] = []
        while True:
            page = self.call(service, operation, **arguments)
            items += page.get(key, [])
            if not page.get("nextToken"):
                return items
            arguments["nextToken"] = page["nextToken"]


class AwsError(ControlError):
    """A refusal, with AWS's code for it."""

    def __init__(self, message: str, *, code: str, details: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.code = code
        self.details = details
        """The whole answer."""

    @property
    def said(self) -> str:
        """AWS's own words."""
        return str(self.details.get("Error", {}).get("Message", ""))


def connect(region: str) -> Clients:
    """Clients for a region, from the factory that the environment names or else from boto3's usual credentials."""
    named = os.environ.get(FACTORY)
    if named:
        return _factory(named)(region)
    import boto3
    from botocore.config import Config

    config = Config(
        retries={"mode": "standard", "max_attempts": 5}, connect_timeout=10, read_timeout=30, user_agent_extra="slipway"
    )
    # A session of its own: boto3's default one may not be used from several threads at once.
    session = boto3.session.Session(region_name=region)
    return Clients(region=region, ecs=session.client("ecs", config=config), logs=session.client("logs", config=config))


def _factory(named: str) -> Callable[[str], Clients]:
    module, _, function = named.partition(":")
    try:
        found: Callable[[str], Clients] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ControlError(f"{FACTORY} is {named!r}, which must be module:function: {error}") from error
    return found


def _patiently(call: Callable[[], Mapping[str, Any]], action: str, clock: Clock) -> Mapping[str, Any]:
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        HTTPClientError,
        NoCredentialsError,
        PartialCredentialsError,
    )
    from botocore.exceptions import ConnectionError as BotoConnectionError

    deadline = clock.monotonic() + PATIENCE
    pause = 1.0
    while True:
        try:
            return call()
        except ClientError as error:
            if not _passing(error.response):
                raise _refusal(action, error.response) from error
            trouble = f"{error.response['Error'].get('Code')}: {error.response['Error'].get('Message')}"
        except (BotoConnectionError, HTTPClientError) as error:
            trouble = str(error)
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise ControlError(f"{action} needs AWS credentials: {error}. {_LOG_IN}") from error
        except BotoCoreError as error:
            raise ControlError(f"{action}: {error}") from error
        if clock.monotonic() + pause > deadline:
            raise ControlError(f"{action}: AWS has not answered for {PATIENCE:.0f} s ({trouble}). Run up again.")
        # Full jitter: several services of one stack are watched at once, and would else be throttled together.
        clock.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - not for secrets
        pause = min(pause * 2, 20.0)


_LOG_IN: Final = "Log in (aws sso login, or AWS_PROFILE and the like) and run up again."


def _passing(answer: Mapping[str, Any]) -> bool:
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return answer.get("Error", {}).get("Code") in _THROTTLED or status >= 500


def _refusal(action: str, answer: Mapping[str, Any]) -> AwsError:
    code, said = str(answer["Error"].get("Code", "")), str(answer["Error"].get("Message", ""))
    if code in _DENIED:
        advice = f" The deployer needs the permission {action}; docs/aws/policies has the whole policy."
    elif code in _NO_CREDENTIALS:
        advice = f" {_LOG_IN}"
    else:
        advice = ""
    return AwsError(f"{action} was refused: {code}: {said.rstrip('.')}.{advice}", code=code, details=answer)


def _camel(operation: str) -> str:
    return "".join(part.capitalize() for part in operation.split("_"))
