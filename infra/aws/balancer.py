"""The way in: load balancer, listeners, certificate, firewall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from infra.aws.accesslogs import PREFIX, access_log_bucket
from infra.aws.alarms.monitored import MonitoredBalancer
from infra.aws.certificate import certificate, point_to
from infra.aws.network import Network
from infra.aws.waf import firewall
from infra.component import Component, ComponentArgs
from infra.contracts import HttpHealth

TLS_POLICY: Final = "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"
"""TLS 1.3, and 1.2 with forward secrecy only; the policy that the console proposes. The API's own default is from 2016
and takes TLS 1.0."""
IDLE_TIMEOUT: Final = 60
"""Seconds; `infra.settings.invariants.timing` keeps the application's keep-alive above it."""
HSTS: Final = "max-age=63072000; includeSubDomains"


@dataclass(frozen=True, kw_only=True)
class BalancerArgs(ComponentArgs):
    """`health` is what decides whether a replica gets requests, `request_timeout` the longest time of one in seconds.

    TLS needs `domain`: with `certificate_arn` a certificate that exists is used, otherwise one is made. Without
    `domain` the balancer serves plain HTTP under its own name.
    """

    network: Network
    port: int
    health: HttpHealth
    request_timeout: int
    domain: str | None = None
    zone_id: str | None = None
    """Route 53 zone that gets the records; None: they are made by hand."""
    certificate_arn: str | None = None
    waf: bool = True
    waf_rate_limit: int = 2000
    """Requests of one address in five minutes."""
    log_retention_days: int = 30
    key_arn: pulumi.Input[str] | None = None
    protect: bool = True
    """Refuse to delete the balancer, and to delete its logs with it."""


class Balancer(Component):
    """An Application Load Balancer over the public subnets.

    Creates: the balancer, the target group, a listener on 443 and one on 80 that redirects to it, the certificate with
    its validation and records where a zone is given, the bucket of access logs, and WAF by choice. Costs: about 18 USD
    a month and 6 USD for each capacity unit in use; WAF 10 USD a month and 0.60 USD a million requests. Exports: `url`,
    `target_group_arn`, `monitored`, `listener`, `dns_name`. Replaces: another port the target group, with the new one
    made first; another domain the certificate.
    """

    url: pulumi.Output[str]
    arn: pulumi.Output[str]
    target_group_arn: pulumi.Output[str]
    dns_name: pulumi.Output[str]
    monitored: MonitoredBalancer
    listener: aws.lb.Listener
    """The one that requests come in by."""
    before_traffic: tuple[pulumi.Resource, ...]
    """What must be there before a replica is registered, to wait for: the listener, without which ECS takes no target
    group, and the firewall, before which the first requests would pass unseen."""

    def __init__(self, name: str, args: BalancerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:Balancer", name, opts, args.transforms)
        target = self._target(args)
        self.target_group_arn = target.arn
        balancer = self._balancer(args)
        self.arn, self.dns_name = balancer.arn, balancer.dns_name
        certificate_arn = self._certificate(args)
        self.monitored = MonitoredBalancer(
            suffix=balancer.arn_suffix, target_suffix=target.arn_suffix, certificate_arn=certificate_arn
        )
        self.listener = self._listeners(target, certificate_arn)
        if args.domain and args.zone_id:
            point_to(
                self,
                domain=args.domain,
                zone_id=args.zone_id,
                dns_name=balancer.dns_name,
                balancer_zone=balancer.zone_id,
            )
        self.before_traffic = (self.listener,)
        if args.waf:
            guarded = firewall(
                self,
                balancer_arn=balancer.arn,
                rate_limit=args.waf_rate_limit,
                retention_days=args.log_retention_days,
                key_arn=args.key_arn,
            )
            self.before_traffic = (self.listener, guarded)
        self.url = (
            pulumi.Output.from_input(f"https://{args.domain}")
            if args.domain
            else pulumi.Output.concat("http://", balancer.dns_name)
        )
        self.finish({"url": self.url, "dns_name": self.dns_name})

    def _balancer(self, args: BalancerArgs) -> aws.lb.LoadBalancer:
        logs, allowed = access_log_bucket(
            self, retention_days=args.log_retention_days, neighbour_arn=self.target_group_arn, keep=args.protect
        )
        return self.inner(
            "alb",
            aws.lb.LoadBalancer,
            {
                "load_balancer_type": "application",
                "internal": False,
                "ip_address_type": "ipv4",
                "subnets": args.network.public_subnets,
                "security_groups": [args.network.groups.balancer],
                "idle_timeout": IDLE_TIMEOUT,
                "enable_http2": True,
                # A header that some server reads otherwise than the balancer is a way to smuggle a request.
                "drop_invalid_header_fields": True,
                "desync_mitigation_mode": "defensive",
                "xff_header_processing_mode": "append",
                "enable_deletion_protection": args.protect,
                "access_logs": {"bucket": logs, "prefix": PREFIX, "enabled": True},
            },
            depends_on=[allowed, *args.network.way_in],
        )

    def _target(self, args: BalancerArgs) -> aws.lb.TargetGroup:
        health = args.health
        return self.inner(
            "target",
            aws.lb.TargetGroup,
            {
                "target_type": "ip",
                "vpc_id": args.network.vpc_id,
                "port": args.port,
                "protocol": "HTTP",
                "protocol_version": "HTTP1",
                # ECS waits for it before SIGTERM: requests under way may end, and a rollout takes that much longer.
                "deregistration_delay": args.request_timeout,
                "load_balancing_algorithm_type": "least_outstanding_requests",
                "health_check": {
                    "path": health.path,
                    "port": "traffic-port",
                    "protocol": "HTTP",
                    "matcher": "200",
                    "interval": health.interval,
                    "timeout": health.timeout,
                    "healthy_threshold": 2,
                    "unhealthy_threshold": max(2, health.retries),
                },
            },
        )

    def _certificate(self, args: BalancerArgs) -> pulumi.Output[str] | None:
        if args.domain is None:
            return None
        if args.certificate_arn is not None:
            return pulumi.Output.from_input(args.certificate_arn)
        return certificate(self, domain=args.domain, zone_id=args.zone_id)

    def _listeners(self, target: aws.lb.TargetGroup, certificate_arn: pulumi.Output[str] | None) -> aws.lb.Listener:
        forward: dict[str, Any] = {"type": "forward", "target_group_arn": target.arn}
        if certificate_arn is None:
            return self._listener("http", 80, forward)
        redirect = {"port": "443", "protocol": "HTTPS", "status_code": "HTTP_301"}
        self._listener("http", 80, {"type": "redirect", "redirect": redirect})
        return self._listener(
            "https",
            443,
            forward,
            certificate_arn=certificate_arn,
            ssl_policy=TLS_POLICY,
            routing_http_response_strict_transport_security_header_value=HSTS,
        )

    def _listener(self, role: str, port: int, action: dict[str, Any], **tls: Any) -> aws.lb.Listener:
        return self.inner(
            role,
            aws.lb.Listener,
            {
                "load_balancer_arn": self.arn,
                "port": port,
                "protocol": "HTTPS" if tls else "HTTP",
                "default_actions": [action],
                "routing_http_response_server_enabled": False,
                **tls,
            },
        )
