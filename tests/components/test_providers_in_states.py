"""A state names the provider of each dynamic resource by module and class, and is read for years."""

from __future__ import annotations

import base64

import dill
import pytest
from pulumi.dynamic.dynamic import serialize_provider

WRITTEN = {
    "infra.local.providers.migration.Migration": (
        "gASVNAAAAAAAAACMH2luZnJhLmxvY2FsLnByb3ZpZGVycy5taWdyYXRpb26UjAlNaWdyYXRpb26Uk5QpgZQu"
    ),
    "infra.local.providers.postgres.PostgresServer": (
        "gASVOAAAAAAAAACMHmluZnJhLmxvY2FsLnByb3ZpZGVycy5wb3N0Z3Jlc5SMDlBvc3RncmVzU2VydmVylJOUKYGULg=="
    ),
    "infra.local.providers.roles.DatabaseRoles": (
        "gASVNAAAAAAAAACMG2luZnJhLmxvY2FsLnByb3ZpZGVycy5yb2xlc5SMDURhdGFiYXNlUm9sZXOUk5QpgZQu"
    ),
    "infra.local.providers.service.Service": (
        "gASVMAAAAAAAAACMHWluZnJhLmxvY2FsLnByb3ZpZGVycy5zZXJ2aWNllIwHU2VydmljZZSTlCmBlC4="
    ),
    "infra.local.providers.valkey.ValkeyServer": (
        "gASVNAAAAAAAAACMHGluZnJhLmxvY2FsLnByb3ZpZGVycy52YWxrZXmUjAxWYWxrZXlTZXJ2ZXKUk5QpgZQu"
    ),
    "infra.aws.control.providers.TaskSequenceProvider": (
        "gASVOwAAAAAAAACMG2luZnJhLmF3cy5jb250cm9sLnByb3ZpZGVyc5SMFFRhc2tTZXF1ZW5jZVByb3ZpZGVylJOUKYGULg=="
    ),
    "infra.aws.control.providers.RolloutProvider": (
        "gASVNgAAAAAAAACMG2luZnJhLmF3cy5jb250cm9sLnByb3ZpZGVyc5SMD1JvbGxvdXRQcm92aWRlcpSTlCmBlC4="
    ),
    "infra.signing_keys.SigningKeysProvider": (
        "gASVMQAAAAAAAACMEmluZnJhLnNpZ25pbmdfa2V5c5SME1NpZ25pbmdLZXlzUHJvdmlkZXKUk5QpgZQu"
    ),
}
"""What the states of stacks hold that were made with the first version, by the class."""


@pytest.mark.parametrize("name", WRITTEN)
def test_the_provider_of_an_old_state_is_found_and_written_as_before(name: str) -> None:
    provider = dill.loads(base64.b64decode(WRITTEN[name]))
    assert f"{type(provider).__module__}.{type(provider).__qualname__}" == name
    assert serialize_provider(provider) == WRITTEN[name]
