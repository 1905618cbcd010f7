"""The private network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
import pulumi_aws as aws

from infra.aws.flowlogs import flow_logs
from infra.aws.naming import name_tag
from infra.aws.security import WORLD, Access, SecurityGroups, security_groups
from infra.aws.subnets import Tier, subnets
from infra.component import Component, ComponentArgs

Nat = Literal["per_zone", "single", "regional", "none"]


@dataclass(frozen=True, kw_only=True)
class ExistingNetwork:
    """An existing VPC, with its subnets and routes."""

    vpc_id: pulumi.Input[str]
    public_subnets: Sequence[pulumi.Input[str]]
    task_subnets: Sequence[pulumi.Input[str]]
    data_subnets: Sequence[pulumi.Input[str]]


@dataclass(frozen=True, kw_only=True)
class NetworkArgs(ComponentArgs):
    """`region` and `cidr` describe the VPC; with `existing` only the security groups and endpoints are made in it."""

    region: str
    cidr: str
    zones: Sequence[str]
    access: Access
    nat: Nat = "per_zone"
    endpoints: Sequence[str] = ()
    """Services to reach without leaving the VPC, by the last part of their names: ``ecr.api``."""
    flow_logs: bool = True
    retention_days: int = 30
    """Of flow logs."""
    key: pulumi.Input[str] | None = None
    """KMS key of flow logs."""
    existing: ExistingNetwork | None = None


class Network(Component):
    """A VPC over two to four zones, with subnets for the load balancer, for tasks and for data.

    Creates: the VPC, its default security group emptied, public, task and data subnets in each zone, route tables, NAT
    gateways by choice, the S3 gateway endpoint, interface endpoints by choice, flow logs, and a security group for each
    role. Data subnets have no way out. Costs: a NAT gateway 33 USD a month and 0.045 USD a GB, one for each zone by
    default; each interface endpoint 7.30 USD a month and zone; the rest nothing. Exports: ids of the VPC and subnets,
    `assign_public_ip` and `groups`. Replaces: another `cidr` everything; a zone more or less only its own subnets;
    another `nat` the routes, in place.
    """

    vpc_id: pulumi.Output[str]
    public_subnets: list[pulumi.Output[str]]
    task_subnets: list[pulumi.Output[str]]
    data_subnets: list[pulumi.Output[str]]
    assign_public_ip: bool
    """Whether a task needs a public address of its own to get out."""
    way_in: tuple[pulumi.Resource, ...] = ()
    """What makes the public subnets public, to wait for: nothing that is in them refers to it. AWS refuses a load
    balancer in a network without an internet gateway, and lets no gateway go while addresses are mapped through it.
    None in a network that exists."""
    groups: SecurityGroups

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:Network", name, opts, args.transforms)
        self._args = args
        self.assign_public_ip = args.nat == "none" and args.existing is None
        if args.existing:
            self._adopt(args.existing)
        else:
            self._build()
        self.groups = security_groups(self, self.vpc_id, args.access)
        for service in args.endpoints:
            inside = {"subnet_ids": self.task_subnets, "security_group_ids": [self.groups.endpoints]}
            self._endpoint(service, "Interface", {"private_dns_enabled": True, **inside})
        self.finish(
            {
                "vpc_id": self.vpc_id,
                "public_subnets": self.public_subnets,
                "task_subnets": self.task_subnets,
                "data_subnets": self.data_subnets,
            }
        )

    def _adopt(self, existing: ExistingNetwork) -> None:
        self.vpc_id = pulumi.Output.from_input(existing.vpc_id)
        self.public_subnets = [pulumi.Output.from_input(subnet) for subnet in existing.public_subnets]
        self.task_subnets = [pulumi.Output.from_input(subnet) for subnet in existing.task_subnets]
        self.data_subnets = [pulumi.Output.from_input(subnet) for subnet in existing.data_subnets]

    def _build(self) -> None:
        args = self._args
        dns = {"enable_dns_hostnames": True, "enable_dns_support": True}
        vpc = self.inner("vpc", aws.ec2.Vpc, {"cidr_block": args.cidr, **dns, "tags": name_tag("vpc")})
        self.vpc_id = vpc.id
        # Nothing uses it, so it must let nothing through: what is started without a group would get it.
        self.inner("default-group", aws.ec2.DefaultSecurityGroup, {"vpc_id": vpc.id, "tags": name_tag("unused")})
        gateway = self.inner("gateway", aws.ec2.InternetGateway, {"vpc_id": vpc.id, "tags": name_tag("gateway")})

        public = self._tier("public")
        outward = self._table("public")
        route = self._route_out("public", outward, gateway_id=gateway.id)
        self.way_in = (gateway, route, *self._associate("public", public, dict.fromkeys(public, outward)))
        self.public_subnets = [subnet.id for subnet in public.values()]

        tables = [outward]
        if self.assign_public_ip:
            self.task_subnets = self.public_subnets
        else:
            tables += self._private_tasks(public, gateway)
        data = self._tier("data")
        self._associate("data", data, dict.fromkeys(data, self._table("data")))
        self.data_subnets = [subnet.id for subnet in data.values()]

        # Free, and image layers come from S3: without it each pull would pay for the NAT gateway.
        self._endpoint("s3", "Gateway", {"route_table_ids": [table.id for table in tables]})
        if args.flow_logs:
            flow_logs(self, vpc.id, retention_days=args.retention_days, key=args.key)

    def _private_tasks(
        self, public: dict[str, aws.ec2.Subnet], gateway: aws.ec2.InternetGateway
    ) -> list[aws.ec2.RouteTable]:
        """The task subnets, each with a route table of its own, so that another NAT choice only changes routes."""
        tasks = self._tier("task")
        gateways = self._nat_gateways(public, gateway)
        tables = {letter: self._table(f"task-{letter}") for letter in tasks}
        for letter, table in tables.items():
            self._route_out(f"task-{letter}", table, nat_gateway_id=gateways[letter].id)
        self._associate("task", tasks, tables)
        self.task_subnets = [subnet.id for subnet in tasks.values()]
        return list(tables.values())

    def _nat_gateways(
        self, public: dict[str, aws.ec2.Subnet], gateway: aws.ec2.InternetGateway
    ) -> dict[str, aws.ec2.NatGateway]:
        """The NAT gateway that each zone uses, by the zone's letter."""
        if self._args.nat == "regional":
            properties = {"availability_mode": "regional", "vpc_id": self.vpc_id, "connectivity_type": "public"}
            return dict.fromkeys(public, self._nat_gateway("regional", properties, gateway))
        if self._args.nat == "single":
            letter, subnet = next(iter(public.items()))
            return dict.fromkeys(public, self._zonal_nat(letter, subnet, gateway))
        return {letter: self._zonal_nat(letter, subnet, gateway) for letter, subnet in public.items()}

    def _zonal_nat(self, letter: str, subnet: aws.ec2.Subnet, gateway: aws.ec2.InternetGateway) -> aws.ec2.NatGateway:
        properties = {"domain": "vpc", "tags": name_tag(f"nat-{letter}")}
        address = self.inner(f"nat-{letter}-address", aws.ec2.Eip, properties, depends_on=[gateway])
        return self._nat_gateway(letter, {"allocation_id": address.id, "subnet_id": subnet.id}, gateway)

    def _nat_gateway(
        self, role: str, properties: dict[str, Any], gateway: aws.ec2.InternetGateway
    ) -> aws.ec2.NatGateway:
        tagged = {**properties, "tags": name_tag(f"nat-{role}")}
        return self.inner(f"nat-{role}", aws.ec2.NatGateway, tagged, depends_on=[gateway])

    def _tier(self, tier: Tier) -> dict[str, aws.ec2.Subnet]:
        """Its subnets by the letter of their zone."""
        return {
            subnet.letter: self.inner(
                f"{tier}-{subnet.letter}",
                aws.ec2.Subnet,
                {
                    "vpc_id": self.vpc_id,
                    "availability_zone": subnet.zone,
                    "cidr_block": subnet.cidr,
                    "map_public_ip_on_launch": False,
                    "tags": name_tag(f"{tier}-{subnet.letter}"),
                },
            )
            for subnet in subnets(self._args.cidr, self._args.zones, tier)
        }

    def _table(self, role: str) -> aws.ec2.RouteTable:
        return self.inner(f"{role}-routes", aws.ec2.RouteTable, {"vpc_id": self.vpc_id, "tags": name_tag(role)})

    def _route_out(self, role: str, table: aws.ec2.RouteTable, **through: pulumi.Input[str]) -> aws.ec2.Route:
        properties = {"route_table_id": table.id, "destination_cidr_block": WORLD["v4"], **through}
        return self.inner(f"{role}-route", aws.ec2.Route, properties)

    def _associate(
        self, tier: Tier, members: dict[str, aws.ec2.Subnet], tables: dict[str, aws.ec2.RouteTable]
    ) -> list[aws.ec2.RouteTableAssociation]:
        return [
            self.inner(
                f"{tier}-{letter}-association",
                aws.ec2.RouteTableAssociation,
                {"subnet_id": subnet.id, "route_table_id": tables[letter].id},
            )
            for letter, subnet in members.items()
        ]

    def _endpoint(self, service: str, kind: str, properties: dict[str, Any]) -> None:
        role = service.replace(".", "-")
        self.inner(
            f"{role}-endpoint",
            aws.ec2.VpcEndpoint,
            {
                "vpc_id": self.vpc_id,
                "service_name": f"com.amazonaws.{self._args.region}.{service}",
                "vpc_endpoint_type": kind,
                "tags": name_tag(role),
                **properties,
            },
        )
