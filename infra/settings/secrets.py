"""The values that must never show: given in stack config with ``slipway config set --secret``."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pulumi import Output
from pydantic import SecretStr

from infra.settings.group import Group
from infra.settings.rules import Rule
from infra.settings.variables import API, IN_PLACE, ROLLS_API, WORKER, Effect, Role, Variable, variables

BLINDED: Final = "[secret]"
"""Stands for a secret in a plan made without the passphrase. It passes every check, since there is nothing to check."""


class _Given(Rule):
    """A non-empty text, held as a SecretStr."""

    allowed = "a text, set with --secret"

    def read(self, value: Any) -> SecretStr:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not isinstance(text, str) or not text.strip():
            raise ValueError("is empty or not a text")
        return SecretStr(text)


Given = Annotated[SecretStr, _Given()]


class Secrets(Group):
    """Secrets that come from outside. What the program can make itself, it makes, and `rotation` renews."""

    jwt: Annotated[Given, Variable("JWT_SECRET", API), Effect(f"{ROLLS_API}; tokens of the old key end")] | None = None
    """A signing key of at least 64 characters (`JWT_SECRET`), for a move from another system. Without it the program
    makes a ring of keys, which `rotation.jwt` renews with nobody logged out."""
    database_url: Given | None = None
    """`postgresql://user:password@host:5432/database?sslmode=verify-full`; required with `postgres.provider: external`.
    A pooled address is fine."""
    migration_database_url: Annotated[Given, Effect("the next migration")] | None = None
    """The same database on a direct connection, for migrations: their lock needs a session of its own, which a pooler
    in transaction mode does not give. Default: `secrets.database_url`."""
    redis_url: Given | None = None
    """`rediss://user:password@host:6379/0`; required with `redis.provider: external`."""
    replicate_api_key: Annotated[Given, Variable("REPLICATE_API_KEY", API | WORKER)] | None = None
    """Key of the Replicate API (`REPLICATE_API_KEY`)."""
    openai_api_key: Annotated[Given, Variable("OPENAI_API_KEY", API | WORKER)] | None = None
    """Key of the OpenAI API (`OPENAI_API_KEY`)."""
    webhook_secret_replicate: Annotated[Given, Variable("WEBHOOK_SECRET_REPLICATE", API | WORKER)] | None = None
    """Key of Replicate's webhooks, `whsec_...` (`WEBHOOK_SECRET_REPLICATE`): results are sent instead of asked for.
    While it is renewed, the new and the old one with a comma between."""
    webhook_secret_openai: Annotated[Given, Variable("WEBHOOK_SECRET_OPENAI", API | WORKER)] | None = None
    """The same of the webhooks that are set up in OpenAI's project (`WEBHOOK_SECRET_OPENAI`)."""
    alert_webhook: Annotated[Given, Effect(IN_PLACE)] | None = None
    """An `https://` address that gets every alarm besides `alerts.emails`, in the form of Amazon SNS: PagerDuty,
    Opsgenie and others confirm and understand it. A secret, since such an address holds the key to use it. AWS only."""

    def text(self, name: str) -> str | None:
        """The plain value, for checks; None where it is not given or blinded."""
        value: SecretStr | None = getattr(self, name)
        return None if value is None or value.get_secret_value() == BLINDED else value.get_secret_value()

    def output(self, name: str) -> Output[str]:
        """The value as a Pulumi secret; raises KeyError when it was not given."""
        value: SecretStr | None = getattr(self, name)
        if value is None:
            raise KeyError(f"secrets.{name} is not set")
        return Output.secret(value.get_secret_value())

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the secrets that are set."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)

    def variables(self, role: Role) -> tuple[str, ...]:
        """The variables for those that are set and that `role` reads."""
        given = (variable for name, variable in variables(Secrets).items() if name in self.given)
        return tuple(variable.name for variable in given if variable and variable.roles & role)


GIVEN_VARIABLES: Final = {name: variable.name for name, variable in variables(Secrets).items() if variable}
"""The secrets of stack config that processes get as they are, by the variable."""
