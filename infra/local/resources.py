"""The dynamic resources. Their type names are part of every state file."""

from __future__ import annotations

import pulumi

from infra.dynamic_provider import DynamicResource
from infra.local.providers.migration import Migration
from infra.local.providers.postgres import PostgresServer
from infra.local.providers.roles import DatabaseRoles
from infra.local.providers.service import Service
from infra.local.providers.valkey import ValkeyServer


class PostgresServerResource(DynamicResource, module="slipway", name="PostgresServer"):
    provider = PostgresServer()
    computed = ("host", "port")
    host: pulumi.Output[str]
    port: pulumi.Output[int]


class DatabaseRolesResource(DynamicResource, module="slipway", name="DatabaseRoles"):
    provider = DatabaseRoles()
    host: pulumi.Output[str]
    port: pulumi.Output[int]
    database: pulumi.Output[str]


class ValkeyServerResource(DynamicResource, module="slipway", name="ValkeyServer"):
    provider = ValkeyServer()
    computed = ("host", "port")
    host: pulumi.Output[str]
    port: pulumi.Output[int]


class MigrationResource(DynamicResource, module="slipway", name="Migration"):
    provider = Migration()
    computed = ("revision",)
    revision: pulumi.Output[str]


class ServiceResource(DynamicResource, module="slipway", name="Service"):
    provider = Service()
    computed = ("url",)
    port: pulumi.Output[int]
    url: pulumi.Output[str]
