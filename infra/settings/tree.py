"""The whole tree of settings of one stack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from infra.settings.application import Deliveries, Features, Jwt, Predictions
from infra.settings.data import Postgres, Redis
from infra.settings.group import Group
from infra.settings.platform import (
    Alerts,
    Backup,
    Domain,
    Encryption,
    Image,
    Log,
    Network,
    Observability,
    Permit,
    Rotation,
)
from infra.settings.rules import Text
from infra.settings.secrets import Secrets
from infra.settings.services import Api, Worker, WorkerGroup
from infra.settings.variables import API, EVERY, IN_PLACE, ROLLS_ALL, ROLLS_API, ROLLS_WORKERS, Effect, Variable

Target = Literal["local", "docker", "aws", "digitalocean"]

_REGION = Text(r"[a-z0-9-]{2,20}", "a region of the target")
_ACCOUNT = Text(r"\d{12}", "the 12 digits of an AWS account, in quotes")
_ORIGIN = Text(r"\S{1,300}", "an origin such as https://app.example.com")
_TAG = Text(r"[A-Za-z0-9_.:/+@-]{1,128}", "1 to 128 letters, digits or '_.:/+@-'")
_TAG_VALUE = Text(r"[A-Za-z0-9_.:/=+@ -]{0,256}", "up to 256 letters, digits, blanks or '_.:/=+@-'")


class Settings(Group):
    """Everything about a stack that can be chosen. Production-safe where nothing is said."""

    project: Annotated[str, Text(r".+", "the project's name"), Variable("SERVICE_NAME", EVERY)] = Field(exclude=True)
    """Name of the Pulumi project (`SERVICE_NAME`); not a key of the stack file."""
    stack: Annotated[str, Text(r".+", "the stack's name"), Variable("STACK_NAME", API)] = Field(exclude=True)
    """Name of the stack; not a key of the stack file."""

    target: Annotated[Target, Effect("makes a new stack elsewhere; nothing is moved")]
    """Where the stack runs: this machine without Docker, a host with Docker Engine, AWS, or DigitalOcean."""
    region: Annotated[str, _REGION, Effect("makes everything anew; nothing is moved")] | None = None
    """Region on AWS (`eu-central-1`) or data centre on DigitalOcean (`fra1`); required there."""
    account: Annotated[str, _ACCOUNT, Effect("nothing; only checked")] | None = None
    """The only AWS account that this stack may change: a command run with the wrong credentials then stops."""
    domain: Annotated[Domain, Effect("certificate, listener and records, in place")] = Field(default_factory=Domain)
    """The name that users see."""
    image: Annotated[Image, Effect(f"migrates, then {ROLLS_ALL}")] = Field(default_factory=Image)
    """The application image: what runs."""
    network: Network = Field(default_factory=Network)
    """The private network."""
    encryption: Annotated[
        Encryption, Effect("replaces the database, the cache and the image repository: choose before the first `up`")
    ] = Field(default_factory=Encryption)
    """The key for data at rest."""
    postgres: Postgres
    """The database."""
    redis: Annotated[Redis, Effect(f"a new server or a restart; the sweeper restores the queue. Then {ROLLS_ALL}")]
    """The broker."""
    api: Annotated[Api, Effect(ROLLS_API)] = Field(default_factory=Api)
    """The HTTP API."""
    worker: Annotated[Worker, Effect(ROLLS_WORKERS)] = Field(default_factory=Worker)
    """The workers."""
    jwt: Jwt = Field(default_factory=Jwt)
    """The tokens that the API issues."""
    deliveries: Deliveries = Field(default_factory=Deliveries)
    """Outbound webhook deliveries."""
    predictions: Predictions = Field(default_factory=Predictions)
    """Predictions by Replicate and OpenAI."""
    features: Features = Field(default_factory=Features)
    """What the API serves besides its purpose."""
    cors_origins: Annotated[tuple[Annotated[str, _ORIGIN], ...], Variable("CORS_ORIGIN", API)] = ()
    """Origins that may call from a browser (`CORS_ORIGIN`): scheme, host and port. Empty: none. `*` only on the local
    target."""
    log: Log = Field(default_factory=Log)
    """What the application writes, and how long it is kept."""
    observability: Observability = Field(default_factory=Observability)
    """Where the application's traces go."""
    secrets: Annotated[Secrets, Effect(ROLLS_ALL)] = Field(default_factory=Secrets)
    """Secrets that come from outside."""
    rotation: Rotation = Field(default_factory=Rotation)
    """Generations of the secrets that the program makes."""
    alerts: Annotated[Alerts, Effect(IN_PLACE)] = Field(default_factory=Alerts)
    """Who gets alarms, and when."""
    backup: Annotated[Backup, Effect(IN_PLACE)] = Field(default_factory=Backup)
    """Copies to restore from."""
    tags: Annotated[dict[Annotated[str, _TAG], Annotated[str, _TAG_VALUE]], Effect(IN_PLACE)] = Field(
        default_factory=dict
    )
    """Tags of every resource, besides `project`, `stack` and `managed-by`."""
    protect: Annotated[bool, Effect("in place; lifting it takes an `up` of its own before a delete")] = True
    """Refuse to delete or replace what holds data: Pulumi's protection, the provider's deletion protection, a final
    snapshot. The local stack says false: `destroy` keeps its data anyway."""
    permits: Annotated[tuple[Permit, ...], Effect("nothing by itself")] = ()
    """Dated exceptions from `protect`."""

    @property
    def environment(self) -> Literal["production", "development"]:
        """`ENVIRONMENT` of the application: whatever others can reach is production."""
        return "development" if self.target == "local" else "production"

    @property
    def worker_groups(self) -> Iterator[tuple[str, WorkerGroup]]:
        """Every worker service by name: ``worker`` and ``worker-<group>``. None of the main queue in mode `all`."""
        if self.api.mode == "api":
            yield "worker", self.worker
        for name, group in self.worker.groups.items():
            yield f"worker-{name}", group
