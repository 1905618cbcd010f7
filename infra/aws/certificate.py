"""The certificate of the API's name, and the records that point the name at the load balancer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

from infra.component import Component


def certificate(owner: Component, *, domain: str, zone_id: str | None) -> pulumi.Output[str]:
    """Make a certificate for `domain` and wait until it is issued; its ARN.

    ACM wants to see a record in the domain's zone. Without `zone_id` it has to be made by hand: what to write is
    logged while the program waits for it, for up to 75 minutes.
    """
    made = owner.inner(
        "certificate",
        aws.acm.Certificate,
        {"domain_name": domain, "validation_method": "DNS", "key_algorithm": "EC_prime256v1"},
    )
    option = made.domain_validation_options.apply(_only)
    validation: dict[str, Any] = {"certificate_arn": made.arn}
    if zone_id is not None:
        record = owner.inner(
            "validation-record",
            aws.route53.Record,
            {
                "zone_id": zone_id,
                "name": option.apply(lambda option: option.resource_record_name),
                "type": option.apply(lambda option: option.resource_record_type),
                "records": [option.apply(lambda option: option.resource_record_value)],
                "ttl": 300,
                # A second certificate for the same name asks for the same record.
                "allow_overwrite": True,
            },
        )
        validation["validation_record_fqdns"] = [record.fqdn]
    else:
        option.apply(_log_record)
    issued: aws.acm.CertificateValidation = owner.inner("validation", aws.acm.CertificateValidation, validation)
    arn: pulumi.Output[str] = issued.certificate_arn
    return arn


def point_to(
    owner: Component, *, domain: str, zone_id: str, dns_name: pulumi.Input[str], balancer_zone: pulumi.Input[str]
) -> None:
    """Make the record of the API's name."""
    owner.inner(
        "record",
        aws.route53.Record,
        {
            "zone_id": zone_id,
            "name": domain,
            "type": "A",
            "aliases": [{"name": dns_name, "zone_id": balancer_zone, "evaluate_target_health": True}],
        },
    )


def _only(options: Sequence[Any]) -> Any:
    if len(options) != 1:
        raise ValueError(f"ACM asks for {len(options)} records for one name; one was expected")
    return options[0]


def _log_record(option: Any) -> None:
    if not pulumi.runtime.is_dry_run():
        pulumi.log.info(
            f"To have the certificate issued, add to the domain's zone: {option.resource_record_name} "
            f"{option.resource_record_type} {option.resource_record_value}"
        )
