"""VPC, subnets, gateways, routes, security groups, endpoints, flow logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emulator.mapping import Kind, Step

if TYPE_CHECKING:
    from emulator.cloud import Cloud

_ALL = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]


def _arn(kind: str) -> str:
    return f"=arn:aws:ec2:{{region}}:{{account}}:{kind}/{{id}}"


def _permission(inputs: Mapping[str, Any]) -> dict[str, Any]:
    told = {"Description": inputs["description"]} if inputs.get("description") else {}
    permission: dict[str, Any] = {"IpProtocol": inputs["ipProtocol"]}
    for name, member in (("fromPort", "FromPort"), ("toPort", "ToPort")):
        if inputs.get(name) is not None:
            permission[member] = int(inputs[name])
    sources = {
        "cidrIpv4": ("IpRanges", "CidrIp"),
        "cidrIpv6": ("Ipv6Ranges", "CidrIpv6"),
        "prefixListId": ("PrefixListIds", "PrefixListId"),
        "referencedSecurityGroupId": ("UserIdGroupPairs", "GroupId"),
    }
    given = [name for name in sources if inputs.get(name)]
    if len(given) != 1:
        raise ValueError(f"a rule wants exactly one of {', '.join(sources)}; it has {', '.join(given) or 'none'}")
    group, member = sources[given[0]]
    permission[group] = [{member: inputs[given[0]], **told}]
    return permission


def _pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def _rule(direction: str) -> Kind:
    authorize, revoke = f"AuthorizeSecurityGroup{direction}", f"RevokeSecurityGroup{direction}"

    def create(cloud: Cloud, inputs: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        params = {"GroupId": inputs["securityGroupId"], "IpPermissions": [_permission(inputs)]}
        if inputs.get("tagsAll"):
            params["TagSpecifications"] = [{"ResourceType": "security-group-rule", "Tags": _pairs(inputs["tagsAll"])}]
        answer = cloud.call("ec2", authorize, params)
        id_ = answer["SecurityGroupRules"][0]["SecurityGroupRuleId"]
        arn = f"arn:aws:ec2:{known['region']}:{known['account']}:security-group-rule/{id_}"
        return id_, {"securityGroupRuleId": id_, "arn": arn}

    def delete(cloud: Cloud, outputs: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        cloud.call("ec2", revoke, {"GroupId": outputs["securityGroupId"], "IpPermissions": [_permission(outputs)]})

    def update(
        cloud: Cloud, inputs: Mapping[str, Any], known: Mapping[str, Any], changed: set[str]
    ) -> Mapping[str, Any]:
        cloud.call("ec2", revoke, {"GroupId": inputs["securityGroupId"], "IpPermissions": [_permission(known["old"])]})
        cloud.call("ec2", authorize, {"GroupId": inputs["securityGroupId"], "IpPermissions": [_permission(inputs)]})
        return {}

    taken = "becomes a part of IpPermissions"
    names = (
        *("description", "ipProtocol", "fromPort", "toPort"),
        *("cidrIpv4", "cidrIpv6", "prefixListId", "referencedSecurityGroupId"),
    )
    return Kind(
        type=f"aws:vpc/securityGroup{direction}Rule:SecurityGroup{direction}Rule",
        service="ec2",
        create=create,
        tagged=True,
        update=update,
        delete=delete,
        id="",
        replaces=frozenset({"securityGroupId"}),
        local=dict.fromkeys(names, taken),
    )


def _empty_default_group(
    cloud: Cloud, inputs: Mapping[str, Any], known: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The real provider adopts the VPC's default group and takes its rules away."""
    wanted = [{"Name": "vpc-id", "Values": [inputs["vpcId"]]}, {"Name": "group-name", "Values": ["default"]}]
    group = cloud.call("ec2", "DescribeSecurityGroups", {"Filters": wanted})["SecurityGroups"][0]
    if inputs.get("ingress") or inputs.get("egress"):
        raise ValueError("the emulation knows the default group without rules alone")
    for direction, rules in (("Ingress", "IpPermissions"), ("Egress", "IpPermissionsEgress")):
        if group[rules]:
            params = {"GroupId": group["GroupId"], "IpPermissions": group[rules]}
            cloud.call("ec2", f"RevokeSecurityGroup{direction}", params)
    if inputs.get("tagsAll"):
        cloud.call("ec2", "CreateTags", {"Resources": [group["GroupId"]], "Tags": _pairs(inputs["tagsAll"])})
    return group["GroupId"], {"name": "default"}


KINDS = (
    Kind(
        type="aws:ec2/vpc:Vpc",
        service="ec2",
        create=Step(operation="CreateVpc", names={"assignGeneratedIpv6CidrBlock": "AmazonProvidedIpv6CidrBlock"}),
        record="Vpc",
        id="VpcId",
        outputs={"arn": _arn("vpc")},
        optional={
            "ipv6CidrBlock": "Ipv6CidrBlockAssociationSet[0].Ipv6CidrBlock",
        },
        steps=(
            Step(
                operation="ModifyVpcAttribute",
                names={"enableDnsSupport": "EnableDnsSupport.Value"},
                only=frozenset({"enableDnsSupport"}),
                fixed={"VpcId": "{id}"},
            ),
            Step(
                operation="ModifyVpcAttribute",
                names={"enableDnsHostnames": "EnableDnsHostnames.Value"},
                only=frozenset({"enableDnsHostnames"}),
                fixed={"VpcId": "{id}"},
            ),
        ),
        delete=(Step(operation="DeleteVpc", fixed={"VpcId": "{id}"}),),
        replaces=frozenset({"cidrBlock", "ipv4IpamPoolId"}),
        defaults={"enableDnsSupport": True},
        tags="vpc",
    ),
    Kind(
        type="aws:ec2/subnet:Subnet",
        service="ec2",
        create=Step(operation="CreateSubnet", names={"assignIpv6AddressOnCreation": ""}),
        record="Subnet",
        id="SubnetId",
        outputs={"arn": _arn("subnet")},
        steps=(
            Step(
                operation="ModifySubnetAttribute",
                names={"mapPublicIpOnLaunch": "MapPublicIpOnLaunch.Value"},
                only=frozenset({"mapPublicIpOnLaunch"}),
                fixed={"SubnetId": "{id}"},
            ),
            Step(
                operation="ModifySubnetAttribute",
                names={"assignIpv6AddressOnCreation": "AssignIpv6AddressOnCreation.Value"},
                only=frozenset({"assignIpv6AddressOnCreation"}),
                fixed={"SubnetId": "{id}"},
            ),
        ),
        delete=(Step(operation="DeleteSubnet", fixed={"SubnetId": "{id}"}),),
        replaces=frozenset({"vpcId", "cidrBlock", "availabilityZone", "ipv6CidrBlock", "ipv6Native", "outpostArn"}),
        tags="subnet",
    ),
    Kind(
        type="aws:ec2/internetGateway:InternetGateway",
        service="ec2",
        create=Step(operation="CreateInternetGateway"),
        record="InternetGateway",
        id="InternetGatewayId",
        outputs={"arn": _arn("internet-gateway")},
        steps=(Step(operation="AttachInternetGateway", fixed={"InternetGatewayId": "{id}"}),),
        delete=(
            Step(operation="DetachInternetGateway", fixed={"InternetGatewayId": "{id}", "VpcId": "{vpcId}"}),
            Step(operation="DeleteInternetGateway", fixed={"InternetGatewayId": "{id}"}),
        ),
        tags="internet-gateway",
    ),
    Kind(
        type="aws:ec2/egressOnlyInternetGateway:EgressOnlyInternetGateway",
        service="ec2",
        create=Step(operation="CreateEgressOnlyInternetGateway"),
        record="EgressOnlyInternetGateway",
        id="EgressOnlyInternetGatewayId",
        delete=(Step(operation="DeleteEgressOnlyInternetGateway", fixed={"EgressOnlyInternetGatewayId": "{id}"}),),
        replaces=frozenset({"vpcId"}),
        tags="egress-only-internet-gateway",
    ),
    Kind(
        type="aws:ec2/eip:Eip",
        service="ec2",
        create=Step(operation="AllocateAddress"),
        id="AllocationId",
        outputs={"publicIp": "PublicIp", "allocationId": "AllocationId", "arn": _arn("elastic-ip")},
        delete=(Step(operation="ReleaseAddress", fixed={"AllocationId": "{id}"}),),
        replaces=frozenset({"domain", "address", "ipamPoolId", "networkBorderGroup", "publicIpv4Pool"}),
        tags="elastic-ip",
    ),
    Kind(
        type="aws:ec2/natGateway:NatGateway",
        service="ec2",
        create=Step(operation="CreateNatGateway"),
        record="NatGateway",
        id="NatGatewayId",
        optional={"publicIp": "NatGatewayAddresses[0].PublicIp"},
        delete=(Step(operation="DeleteNatGateway", fixed={"NatGatewayId": "{id}"}),),
        replaces=frozenset({"allocationId", "subnetId", "connectivityType", "availabilityMode", "vpcId"}),
        tags="natgateway",
    ),
    Kind(
        type="aws:ec2/routeTable:RouteTable",
        service="ec2",
        create=Step(operation="CreateRouteTable"),
        record="RouteTable",
        id="RouteTableId",
        outputs={"arn": _arn("route-table")},
        delete=(Step(operation="DeleteRouteTable", fixed={"RouteTableId": "{id}"}),),
        replaces=frozenset({"vpcId"}),
        tags="route-table",
    ),
    Kind(
        type="aws:ec2/route:Route",
        service="ec2",
        create=Step(operation="CreateRoute"),
        update=Step(operation="ReplaceRoute", fixed={"RouteTableId": "{routeTableId}"}),
        id=lambda record, known: f"r-{known['routeTableId']}{_destination(known)}",
        delete=lambda cloud, outputs, known: _delete_route(cloud, outputs),
        replaces=frozenset({"routeTableId", "destinationCidrBlock", "destinationIpv6CidrBlock"}),
    ),
    Kind(
        type="aws:ec2/routeTableAssociation:RouteTableAssociation",
        service="ec2",
        create=Step(operation="AssociateRouteTable"),
        id="AssociationId",
        delete=(Step(operation="DisassociateRouteTable", fixed={"AssociationId": "{id}"}),),
        replaces=frozenset({"subnetId", "gatewayId"}),
        update=Step(
            operation="ReplaceRouteTableAssociation",
            fixed={"AssociationId": "{id}"},
            only=frozenset({"routeTableId"}),
        ),
    ),
    Kind(
        type="aws:ec2/securityGroup:SecurityGroup",
        service="ec2",
        create=Step(operation="CreateSecurityGroup", names={"name": "GroupName"}),
        id="GroupId",
        outputs={"arn": _arn("security-group")},
        # A new group lets everything out: the real provider takes that rule away.
        steps=(
            Step(
                operation="RevokeSecurityGroupEgress",
                fixed={"GroupId": "{id}", "IpPermissions": _ALL},
                only=frozenset(),
                always=True,
            ),
        ),
        delete=(Step(operation="DeleteSecurityGroup", fixed={"GroupId": "{id}"}),),
        replaces=frozenset({"name", "namePrefix", "description", "vpcId"}),
        local={"revokeRulesOnDelete": "the provider's own behaviour at deletion"},
        named="name",
        defaults={"description": "Managed by Pulumi"},
        tags="security-group",
    ),
    Kind(
        type="aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
        service="ec2",
        create=_empty_default_group,
        tagged=True,
        id="",
        delete=lambda cloud, outputs, known: None,
        replaces=frozenset({"vpcId"}),
        local=dict.fromkeys(("ingress", "egress", "revokeRulesOnDelete"), "must be empty"),
    ),
    _rule("Ingress"),
    _rule("Egress"),
    Kind(
        type="aws:ec2/vpcEndpoint:VpcEndpoint",
        service="ec2",
        create=Step(operation="CreateVpcEndpoint", names={"policy": "PolicyDocument"}),
        record="VpcEndpoint",
        id="VpcEndpointId",
        optional={"prefixListId": "=pl-{id}", "arn": _arn("vpc-endpoint")},
        update=Step(
            operation="ModifyVpcEndpoint",
            fixed={"VpcEndpointId": "{id}"},
            names={"policy": "PolicyDocument"},
            only=frozenset({"policy", "privateDnsEnabled"}),
        ),
        delete=(Step(operation="DeleteVpcEndpoints", fixed={"VpcEndpointIds": ["{id}"]}),),
        replaces=frozenset({"vpcId", "serviceName", "serviceRegion", "vpcEndpointType"}),
        tags="vpc-endpoint",
    ),
    Kind(
        type="aws:ec2/flowLog:FlowLog",
        service="ec2",
        create=Step(
            operation="CreateFlowLogs",
            fixed={"ResourceType": "VPC", "ResourceIds": ["{vpcId}"]},
            names={"iamRoleArn": "DeliverLogsPermissionArn"},
        ),
        id="FlowLogIds[0]",
        outputs={"arn": _arn("vpc-flow-log")},
        delete=(Step(operation="DeleteFlowLogs", fixed={"FlowLogIds": ["{id}"]}),),
        replaces=frozenset(
            {
                *("vpcId", "trafficType", "logDestination", "logDestinationType", "iamRoleArn"),
                *("maxAggregationInterval", "logFormat"),
            }
        ),
        local={"vpcId": "is ResourceIds"},
        tags="vpc-flow-log",
    ),
)


def _destination(known: Mapping[str, Any]) -> str:
    return str(known.get("destinationCidrBlock") or known["destinationIpv6CidrBlock"])


def _delete_route(cloud: Cloud, outputs: Mapping[str, Any]) -> None:
    keys = {"destinationCidrBlock": "DestinationCidrBlock", "destinationIpv6CidrBlock": "DestinationIpv6CidrBlock"}
    where = {member: outputs[name] for name, member in keys.items() if outputs.get(name)}
    cloud.call("ec2", "DeleteRoute", {"RouteTableId": outputs["routeTableId"], **where})
