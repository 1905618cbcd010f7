"""Changing the tags of what exists: each service has calls of its own for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from emulator.mapping import fill

if TYPE_CHECKING:
    from emulator.cloud import Cloud


@dataclass(frozen=True, kw_only=True)
class _Calls:
    add: str
    remove: str
    which: Mapping[str, Any]
    """The arguments that name the resource."""
    tags: str = "Tags"
    keys: str = "TagKeys"
    form: Literal["Key", "key", "map"] = "Key"


_ARN: Final = {"ResourceArn": "{arn}"}
_CALLS: Final[Mapping[str, _Calls]] = {
    "ec2": _Calls(add="CreateTags", remove="DeleteTags", which={"Resources": ["{id}"]}, keys=""),
    "rds": _Calls(add="AddTagsToResource", remove="RemoveTagsFromResource", which={"ResourceName": "{arn}"}),
    "elasticache": _Calls(add="AddTagsToResource", remove="RemoveTagsFromResource", which={"ResourceName": "{arn}"}),
    "ecs": _Calls(
        add="TagResource",
        remove="UntagResource",
        which={"resourceArn": "{arn}"},
        tags="tags",
        keys="tagKeys",
        form="key",
    ),
    "ecr": _Calls(
        add="TagResource", remove="UntagResource", which={"resourceArn": "{arn}"}, tags="tags", keys="tagKeys"
    ),
    "elbv2": _Calls(add="AddTags", remove="RemoveTags", which={"ResourceArns": ["{arn}"]}),
    "acm": _Calls(
        add="AddTagsToCertificate", remove="RemoveTagsFromCertificate", which={"CertificateArn": "{arn}"}, keys="Tags"
    ),
    "wafv2": _Calls(add="TagResource", remove="UntagResource", which={"ResourceARN": "{arn}"}),
    "kms": _Calls(add="TagResource", remove="UntagResource", which={"KeyId": "{id}"}),
    "secretsmanager": _Calls(add="TagResource", remove="UntagResource", which={"SecretId": "{id}"}),
    "logs": _Calls(
        add="TagResource",
        remove="UntagResource",
        which={"resourceArn": "{arn}"},
        tags="tags",
        keys="tagKeys",
        form="map",
    ),
    "cloudwatch": _Calls(add="TagResource", remove="UntagResource", which={"ResourceARN": "{arn}"}),
    "sns": _Calls(add="TagResource", remove="UntagResource", which=_ARN),
    "events": _Calls(add="TagResource", remove="UntagResource", which={"ResourceARN": "{arn}"}),
    "iam": _Calls(add="TagRole", remove="UntagRole", which={"RoleName": "{id}"}),
    "backup": _Calls(add="TagResource", remove="UntagResource", which=_ARN, keys="TagKeyList", form="map"),
    "scheduler": _Calls(add="TagResource", remove="UntagResource", which=_ARN),
    "application-autoscaling": _Calls(
        add="TagResource", remove="UntagResource", which={"ResourceARN": "{arn}"}, form="map"
    ),
}


def retag(
    cloud: Cloud,
    service: str,
    id_: str,
    outputs: Mapping[str, Any],
    old: Mapping[str, str],
    new: Mapping[str, str],
) -> None:
    """Bring the tags of a resource from `old` to `new`; raises KeyError for a service without a way to do it."""
    if service == "s3":  # a bucket's tags are set as a whole
        pairs = [{"Key": key, "Value": value} for key, value in sorted(new.items())]
        cloud.call("s3", "PutBucketTagging", {"Bucket": id_, "Tagging": {"TagSet": pairs}})
        return
    calls = _CALLS[service]
    which = fill(calls.which, {**outputs, "id": id_})
    added = {key: value for key, value in new.items() if old.get(key) != value}
    removed = sorted(set(old) - set(new))
    if added:
        cloud.call(service, calls.add, {**which, calls.tags: _form(calls, added)})
    if removed and calls.keys == "TagKeys":
        cloud.call(service, calls.remove, {**which, calls.keys: removed})
    elif removed:
        names = removed if calls.keys in ("tagKeys", "TagKeyList") else [{"Key": key} for key in removed]
        cloud.call(service, calls.remove, {**which, calls.keys or "Tags": names})


def _form(calls: _Calls, tags: Mapping[str, str]) -> Any:
    if calls.form == "map":
        return dict(tags)
    key, value = ("key", "value") if calls.form == "key" else ("Key", "Value")
    # KMS writes TagKey and TagValue.
    if calls.which.keys() == {"KeyId"}:
        key, value = "TagKey", "TagValue"
    return [{key: name, value: text} for name, text in sorted(tags.items())]
