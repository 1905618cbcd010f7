"""The network: who may talk to whom, which addresses there are, and which ways out."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from ipaddress import IPv4Network
from typing import Any

import pytest

from infra.aws.from_settings import networking
from infra.aws.security import TASKS, Access, Rule, rules
from infra.aws.subnets import SMALLEST_VPC, Subnet, Tier, subnets
from infra.engine.plan import Plan
from infra.settings import parse
from infra.workload import Workload

Planned = Callable[..., Plan]

TIERS: tuple[Tier, ...] = ("public", "task", "data")
ZONES = [f"eu-central-1{letter}" for letter in "abc"]

INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"


def program(*, zones: list[str] | None = None, access: str = "Access(api_port=3000)", **args: Any) -> str:
    given = {"region": "eu-central-1", "cidr": "10.0.0.0/16", "zones": zones or ZONES[:2], **args}
    listed = ", ".join(f"{name}={value!r}" for name, value in given.items())
    return (
        "from infra.aws.network import ExistingNetwork, Network, NetworkArgs\n"
        "from infra.aws.security import Access\n"
        "import pulumi\n"
        f"network = Network('network', NetworkArgs({listed}, access={access}))\n"
        "pulumi.export('public_ip', network.assign_public_ip)\n"
        "pulumi.export('tasks', network.task_subnets)\n"
    )


# -- addresses


def all_subnets(cidr: str, zones: list[str]) -> list[Subnet]:
    return [subnet for tier in TIERS for subnet in subnets(cidr, zones, tier)]


@pytest.mark.parametrize("prefix", range(16, SMALLEST_VPC + 1))
def test_subnets_fit_into_the_network_and_never_overlap(prefix: int) -> None:
    cidr = f"10.16.0.0/{prefix}"
    networks = [IPv4Network(subnet.cidr) for subnet in all_subnets(cidr, [f"us-east-1{z}" for z in "abcdefgh"])]
    assert all(network.subnet_of(IPv4Network(cidr)) for network in networks)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(networks, 2))
    # Half for the tasks: they are what grows.
    assert sum(network.num_addresses for network in networks) == IPv4Network(cidr).num_addresses


@pytest.mark.parametrize("prefix", [16, SMALLEST_VPC])
def test_a_balancer_fits_into_the_smallest_public_subnet(prefix: int) -> None:
    assert all(IPv4Network(subnet.cidr).prefixlen <= 27 for subnet in subnets(f"10.0.0.0/{prefix}", ZONES, "public"))


def test_no_subnet_moves_when_a_zone_comes_or_goes() -> None:
    few = {(s.tier, s.zone): s.cidr for s in all_subnets("10.0.0.0/16", [ZONES[2], ZONES[0]])}
    many = {(s.tier, s.zone): s.cidr for s in all_subnets("10.0.0.0/16", ZONES)}
    assert few.items() <= many.items()


def test_what_has_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        subnets("10.0.0.0/23", ZONES, "data")
    with pytest.raises(ValueError, match="no room for zone us-east-1i"):
        subnets("10.0.0.0/16", ["us-east-1i"], "data")


# -- rules


def table(access: Access, direction: str) -> set[tuple[str, str, str]]:
    def ports(rule: Rule) -> str:
        return str(rule.first) if rule.first == rule.last else f"{rule.first}-{rule.last}"

    return {(rule.group, rule.peer, ports(rule)) for rule in rules(access) if rule.direction == direction}


def test_incoming_is_exactly_this() -> None:
    assert table(Access(api_port=3000), "in") == {
        *(("balancer", family, port) for family in ("v4", "v6") for port in ("80", "443")),
        ("api", "balancer", "3000"),
        *(("postgres", task, "5432") for task in TASKS),
        ("redis", "api", "6379"),
        ("redis", "worker", "6379"),
    }


def test_outgoing_is_exactly_this() -> None:
    assert table(Access(api_port=3000), "out") == {
        ("balancer", "api", "3000"),
        *((task, "postgres", "5432") for task in TASKS),
        ("api", "redis", "6379"),
        ("worker", "redis", "6379"),
        *((task, "v4", "443") for task in TASKS),
        ("worker", "v4", "1024-65535"),
    }


def test_servers_of_others_are_reached_from_where_they_are_used() -> None:
    outside = Access(
        api_port=3000,
        postgres_port=None,
        redis_port=None,
        outside_ports={"api": [6543, 6379], "worker": [6543, 6379], "migrate": [5432], "backup": [5432]},
    )
    assert not {rule for rule in rules(outside) if {rule.group, rule.peer} & {"postgres", "redis"}}
    assert ("api", "v4", "6543") in table(outside, "out")
    assert ("migrate", "v4", "5432") in table(outside, "out")


def test_plain_http_goes_out_only_where_webhooks_may_use_it() -> None:
    assert ("worker", "v4", "80") not in table(Access(api_port=3000), "out")
    assert ("worker", "v4", "80") in table(Access(api_port=3000, deliver_http=True), "out")
    combined = Access(api_port=3000, delivering=("api",))
    assert ("api", "v4", "1024-65535") in table(combined, "out")
    assert ("worker", "v4", "1024-65535") not in table(combined, "out")


def test_metrics_are_open_to_the_network_and_to_nothing_else(planned_program: Planned) -> None:
    scraped = Access(api_port=3000, scraped={"worker": [9100]}, network="10.0.0.0/16")
    assert table(scraped, "in") - table(Access(api_port=3000), "in") == {("worker", "network", "9100")}
    access = "Access(api_port=3000, scraped={'worker': [9100]}, network='10.0.0.0/16')"
    (rule,) = (r for r in planned_program(program(access=access), known=True).of_type(INGRESS) if "9100" in r.name)
    assert (rule.inputs["cidrIpv4"], rule.inputs["fromPort"]) == ("10.0.0.0/16", 9100)


def test_which_ports_metrics_and_traces_need() -> None:
    def made(**tree: Any) -> Access:
        settings = parse(
            {"target": "aws", "region": "eu-central-1", "domain": {"name": "a.example.com"}, **tree}, stack="test"
        )
        return networking.access(settings, Workload.of(settings))

    plain, port = made(), {"metrics": True, "metrics_port": 9100}
    assert plain.scraped == {}
    assert made(features={"metrics": True}).scraped == {}
    assert made(features=port).scraped == {"api": (3000,), "worker": (9100,)}
    assert made(features=port, api={"mode": "all"}).scraped == {"api": (3000, 9100)}
    for address, ports in (("http://c:4318", (4318,)), ("https://c", ()), ("http://c", (80,)), ("https://c:443", ())):
        traced = made(observability={"otlp_endpoint": address})
        added = {role: set(traced.outside_ports[role]) - set(plain.outside_ports[role]) for role in TASKS}
        assert added == {"api": set(ports), "worker": set(ports), "migrate": set(), "backup": set()}


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
def test_the_world_reaches_the_balancer_alone(planned_program: Planned, known: bool) -> None:
    graph = planned_program(program(endpoints=("logs",), access="Access(api_port=3000, endpoints=True)"), known=known)
    worldly = {
        (r.name, r.inputs["fromPort"], r.inputs["toPort"])
        for r in graph.of_type(INGRESS)
        if "referencedSecurityGroupId" not in r.inputs
    }
    assert worldly == {
        (f"network-balancer-in-{family}-{port}", port, port) for family in ("v4", "v6") for port in (80, 443)
    }
    for group in graph.of_type("aws:ec2/securityGroup:SecurityGroup"):
        assert not {"ingress", "egress"} & set(group.inputs), "inline rules and rules of their own undo each other"


def test_each_rule_names_the_groups_that_it_says(planned_program: Planned) -> None:
    graph = planned_program(program(), known=True)
    for rule in (*graph.of_type(INGRESS), *graph.of_type(EGRESS)):
        group, _, peer, _ = rule.name.removeprefix("network-").split("-", 3)
        assert rule.inputs["securityGroupId"] == f"network-{group}-group-id"
        assert rule.inputs["ipProtocol"] == "tcp"
        expected = {"v4": ("cidrIpv4", "0.0.0.0/0"), "v6": ("cidrIpv6", "::/0")}.get(
            peer, ("referencedSecurityGroupId", f"network-{peer}-group-id")
        )
        assert rule.inputs[expected[0]] == expected[1]
        assert len({"cidrIpv4", "cidrIpv6", "referencedSecurityGroupId"} & set(rule.inputs)) == 1


def test_the_default_group_lets_nothing_through(planned_program: Planned) -> None:
    group = planned_program(program()).find(
        "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "network-default-group"
    )
    assert not {"ingress", "egress"} & set(group.inputs)


# -- ways out


def routes(graph: Plan) -> dict[str, str]:
    """Route table -> what its way out goes by."""
    found = {}
    for route in graph.of_type("aws:ec2/route:Route"):
        assert route.inputs["destinationCidrBlock"] == "0.0.0.0/0"
        table = route.inputs["routeTableId"].removeprefix("network-").removesuffix("-routes-id")
        found[table] = route.inputs.get("natGatewayId") or route.inputs["gatewayId"]
    return found


def test_a_gateway_in_each_zone(planned_program: Planned) -> None:
    graph = planned_program(program(zones=ZONES, nat="per_zone"), known=True)
    assert routes(graph) == {
        "public": "network-gateway-id",
        **{f"task-{letter}": f"network-nat-{letter}-id" for letter in "abc"},
    }
    for gateway in graph.of_type("aws:ec2/natGateway:NatGateway"):
        letter = gateway.name[-1]
        assert gateway.inputs["subnetId"] == f"network-public-{letter}-id"
        assert gateway.inputs["allocationId"] == f"network-nat-{letter}-address-id"


def test_one_gateway_for_all(planned_program: Planned) -> None:
    graph = planned_program(program(nat="single"), known=True)
    assert set(routes(graph).values()) == {"network-gateway-id", "network-nat-a-id"}
    assert len(graph.of_type("aws:ec2/eip:Eip")) == 1


def test_a_regional_gateway_has_no_subnet_and_no_address(planned_program: Planned) -> None:
    graph = planned_program(program(nat="regional"), known=True)
    (gateway,) = graph.of_type("aws:ec2/natGateway:NatGateway")
    assert gateway.inputs["availabilityMode"] == "regional"
    assert gateway.inputs["vpcId"] == "network-vpc-id"
    assert not {"subnetId", "allocationId"} & set(gateway.inputs)
    assert not graph.of_type("aws:ec2/eip:Eip")
    assert {table for table, by in routes(graph).items() if by == "network-nat-regional-id"} == {"task-a", "task-b"}


def test_another_nat_choice_changes_routes_alone(planned_program: Planned) -> None:
    def lasting(nat: str) -> set[str]:
        kinds = ("aws:ec2/subnet:Subnet", "aws:ec2/routeTable:RouteTable", "aws:ec2/route:Route")
        graph = planned_program(program(nat=nat))
        return {resource.urn for kind in kinds for resource in graph.of_type(kind)}

    assert lasting("per_zone") == lasting("single") == lasting("regional")


def test_without_gateways_tasks_get_public_addresses(planned_program: Planned) -> None:
    graph = planned_program(program(nat="none"), known=True)
    assert not graph.of_type("aws:ec2/natGateway:NatGateway")
    assert graph.outputs["public_ip"] is True
    assert graph.outputs["tasks"] == ["network-public-a-id", "network-public-b-id"]
    assert not [s.name for s in graph.of_type("aws:ec2/subnet:Subnet") if "task" in s.name]
    assert planned_program(program(), known=True).outputs["public_ip"] is False


def test_data_has_no_way_out_and_no_subnet_gives_addresses(planned_program: Planned) -> None:
    graph = planned_program(program(), known=True)
    assert "data" not in routes(graph)
    associations = {
        a.inputs["subnetId"]: a.inputs["routeTableId"]
        for a in graph.of_type("aws:ec2/routeTableAssociation:RouteTableAssociation")
    }
    for subnet in graph.of_type("aws:ec2/subnet:Subnet"):
        assert subnet.inputs["mapPublicIpOnLaunch"] is False
        tier, letter = subnet.name.split("-")[1:]
        table = f"task-{letter}" if tier == "task" else tier
        assert associations[f"{subnet.name}-id"] == f"network-{table}-routes-id"


# -- endpoints, logs, a network of others


@pytest.mark.parametrize("nat", ["per_zone", "none"])
def test_image_layers_never_pay_for_nat(planned_program: Planned, nat: str) -> None:
    graph = planned_program(program(nat=nat), known=True)
    endpoint = graph.find("aws:ec2/vpcEndpoint:VpcEndpoint", "network-s3-endpoint").inputs
    assert (endpoint["serviceName"], endpoint["vpcEndpointType"]) == ("com.amazonaws.eu-central-1.s3", "Gateway")
    tasks = {"network-public-routes-id"} if nat == "none" else {"network-task-a-routes-id", "network-task-b-routes-id"}
    assert tasks <= set(endpoint["routeTableIds"])


def test_interface_endpoints_are_a_choice(planned_program: Planned) -> None:
    kind = "aws:ec2/vpcEndpoint:VpcEndpoint"
    assert len(planned_program(program()).of_type(kind)) == 1
    graph = planned_program(
        program(endpoints=("ecr.api", "logs"), access="Access(api_port=3000, endpoints=True)"), known=True
    )
    endpoint = graph.find(kind, "network-ecr-api-endpoint").inputs
    assert endpoint["serviceName"] == "com.amazonaws.eu-central-1.ecr.api"
    assert endpoint["securityGroupIds"] == ["network-endpoints-group-id"]
    assert endpoint["privateDnsEnabled"] is True
    entry = {r.name for r in graph.of_type(INGRESS) if "endpoints-in" in r.name}
    assert entry == {f"network-endpoints-in-{task}-443" for task in TASKS}


def test_flow_logs_can_be_switched_off(planned_program: Planned) -> None:
    graph = planned_program(program(retention_days=90), known=True)
    log = graph.find("aws:ec2/flowLog:FlowLog", "network-flow-log").inputs
    assert (log["trafficType"], log["logDestinationType"]) == ("ALL", "cloud-watch-logs")
    group = graph.find("aws:cloudwatch/logGroup:LogGroup", "network-flow-log-group")
    assert group.inputs["retentionInDays"] == 90
    trust = graph.find("aws:iam/role:Role", "network-flow-log-role").inputs["assumeRolePolicy"]
    assert '"aws:SourceAccount": "123456789012"' in trust
    assert not planned_program(program(flow_logs=False)).of_type("aws:ec2/flowLog:FlowLog")


def test_a_network_of_others_gets_the_groups_alone(planned_program: Planned) -> None:
    source = program().replace(
        "access=",
        "existing=ExistingNetwork(vpc_id='vpc-1', public_subnets=['subnet-a'], task_subnets=['subnet-b'], "
        "data_subnets=['subnet-c']), access=",
    )
    graph = planned_program(source, known=True)
    kinds = {resource.type for resource in graph.resources if resource.custom}
    assert kinds == {"aws:ec2/securityGroup:SecurityGroup", INGRESS, EGRESS}
    assert {g.inputs["vpcId"] for g in graph.of_type("aws:ec2/securityGroup:SecurityGroup")} == {"vpc-1"}
    assert graph.outputs["tasks"] == ["subnet-b"]
