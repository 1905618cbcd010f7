"""Defaults that depend on the target, the provider or a neighbour, filled in before validation.

Plain defaults stand at their fields. What stands here is written into the tree wherever the stack file is silent, so
that a validated tree has no "automatic" values left and a plan shows what will be used.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from infra.settings.tables import AWS_REGIONS

Tree = dict[str, Any]

OWN_PROVIDER: Final = {"local": "embedded", "docker": "docker", "aws": "aws", "digitalocean": "digitalocean"}

BY_TARGET: Final[Mapping[str, Tree]] = {
    "local": {"api": {"host": "127.0.0.1"}, "deliveries": {"allow_http": True, "allow_private_networks": True}},
    "docker": {},
    "aws": {"features": {"emf": True}},
    "digitalocean": {
        "image": {"architecture": "x86_64"},
        "api": {"size": "apps-s-1vcpu-1gb"},
        "worker": {"size": "apps-s-1vcpu-1gb"},
    },
}
"""Defaults of each target, in the form of a stack file."""

POSTGRES_BY_PROVIDER: Final[Mapping[str, Tree]] = {
    "aws": {"sslmode": "verify-full", "size": "db.t4g.medium", "owner_role": "slipway_owner"},
    "digitalocean": {"sslmode": "require", "size": "db-s-1vcpu-2gb", "owner_role": "slipway_owner"},
    "docker": {"sslmode": "require", "owner_role": "slipway_owner", "max_connections": 100},
    "embedded": {"sslmode": "disable", "version": 18, "owner_role": "slipway_owner", "max_connections": 100},
    "external": {"max_connections": 100},
}
"""Defaults of `postgres` for each provider."""

REDIS_BY_PROVIDER: Final[Mapping[str, Tree]] = {
    "aws": {"version": "8.2", "size": "cache.t4g.small"},
    "digitalocean": {"version": "8", "size": "db-s-1vcpu-2gb"},
    "docker": {"version": "9.1"},
    "embedded": {"version": "9.1", "tls": False},
    "external": {"version": "8"},
}
"""Defaults of `redis` for each provider."""

COMBINED: Final[Tree] = {"shutdown_timeout": "110s", "stop_timeout": "120s"}
"""Defaults of `api` with `api.mode: all`."""

_MAIN_QUEUE: Final = ("groups", "urgent_kinds", "keep_completed", "keep_failed", "sweep_interval", "queue", "scaling")
"""Keys of `worker` that a named group does not start from: they belong to the main queue or to all workers."""


def complete(tree: Mapping[str, Any]) -> Tree:
    """A copy of `tree` with every dependent default filled in. Malformed parts are left for validation to report."""
    # `api:` with nothing below it is None in YAML and means "nothing said".
    done: Tree = copy.deepcopy({key: value for key, value in tree.items() if value is not None})
    target = done.get("target")
    target = target if isinstance(target, str) and target in OWN_PROVIDER else "local"
    fill(done, BY_TARGET[target])
    for group, by_provider in (("postgres", POSTGRES_BY_PROVIDER), ("redis", REDIS_BY_PROVIDER)):
        section = done.setdefault(group, {})
        if isinstance(section, dict):
            provider = section.setdefault("provider", OWN_PROVIDER[target])
            fill(section, by_provider.get(provider, {}) if isinstance(provider, str) else {})
    _fill_combined(done)
    _fill_network(done, target)
    _fill_worker_groups(done)
    return done


def fill(tree: Tree, defaults: Mapping[str, Any]) -> None:
    """Write into `tree` what it does not have. Lists and scalars are whole values: they are never merged."""
    for key, default in defaults.items():
        if key not in tree:
            tree[key] = copy.deepcopy(default)
        elif isinstance(tree[key], dict) and isinstance(default, Mapping):
            fill(tree[key], default)


def _fill_combined(tree: Tree) -> None:
    """An API replica that holds a worker stops as slowly as a worker: its jobs must finish."""
    api = tree.get("api")
    if isinstance(api, dict) and api.get("mode") == "all":
        fill(api, COMBINED)


def _fill_network(tree: Tree, target: str) -> None:
    """Zones follow the region; the load balancer's addresses come from the VPC."""
    if target != "aws":
        return
    network, api, region = tree.setdefault("network", {}), tree.setdefault("api", {}), tree.get("region")
    if not isinstance(network, dict) or not isinstance(api, dict):
        return
    if region in AWS_REGIONS and not network.get("zones"):
        network["zones"] = [f"{region}a", f"{region}b"]
    api.setdefault("trusted_proxies", [network.get("cidr", "10.0.0.0/16")])


def _fill_worker_groups(tree: Tree) -> None:
    worker = tree.get("worker")
    groups = worker.get("groups") if isinstance(worker, dict) else None
    if not isinstance(worker, dict) or not isinstance(groups, dict):
        return
    shared = {key: value for key, value in worker.items() if key not in _MAIN_QUEUE}
    for name, group in groups.items():
        if isinstance(group, dict):
            group.setdefault("queue", name)
            fill(group, shared)
