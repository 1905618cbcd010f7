"""The IAM policies that a stack needs: taken from the resources of its plan, and no more than that.

`deploy` policies let `pulumi up` make, change and delete the stack; `preview` lets it look and compare. A statement
names resources by the names that the plan gives them, by the stack's tags where AWS chooses the names, and says ``*``
only for actions for which IAM has no resource type.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final, Protocol

from infra.engine.errors import EngineError
from infra.engine.plan import Plan, PlannedResource
from infra.engine.values import Secret
from infra.iam.arns import DEPLOY_POLICIES, NAMES, POLICY_LIMIT, PREVIEW_POLICIES, SERVICE_SECRETS, TAGGED, PlanName
from infra.iam.provider_calls import BEFORE_TAGS, CALLS, CALLS_WHEN_TRUE, DEPLOY_ONLY, LINKED, LINKED_ROLES, PASSED_TO
from infra.iam.reference import access_level, arn, resource_types

Document = dict[str, Any]

_ATTACHMENT: Final = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
_ATTACHING: Final = ("iam:AttachRolePolicy", "iam:DetachRolePolicy")
_LINKING: Final = "iam:CreateServiceLinkedRole"
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


class PermissionsError(EngineError):
    """The policies cannot be made; the message says what to add where."""


class StepPermission(Protocol):
    """A permission that no declared resource shows: what the program's own steps call."""

    @property
    def action(self) -> str: ...
    @property
    def resource(self) -> str: ...
    @property
    def conditions(self) -> tuple[tuple[str, str, str], ...]: ...


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the stack lives, and where its state is. The defaults are placeholders to fill in."""

    partition: str = "aws"
    region: str
    account: str = "ACCOUNT"
    project: str
    stack: str
    state_bucket: str = "STATE-BUCKET"
    state_key: str = "STATE-KEY-ID"


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement of a policy."""

    sid: str
    actions: Iterable[str]
    resources: Iterable[str]
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def service(self) -> str:
        return min(self.actions).partition(":")[0]

    def document(self) -> Document:
        resources = sorted(self.resources)
        return {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": sorted(self.actions),
            "Resource": "*" if resources == ["*"] else resources,
            **({"Condition": self.conditions} if self.conditions else {}),
        }


def policies(plan: Plan, place: Place, steps: Iterable[StepPermission] = ()) -> dict[str, Document]:
    """Policy documents by file name without its ending: ``deploy-<area>``, ``deploy-state``, ``preview-<part>``,
    ``preview-state``. Raises PermissionsError for a resource type that is not in `provider_calls`, and for a policy
    that is longer than IAM allows."""
    statements = _Statements(plan, place)
    deploy = [*statements.deploy(), *statements.steps(steps)]
    preview = list(statements.preview())
    found = {
        **{
            f"deploy-{area}": [s for s in deploy if s.service in services] for area, services in DEPLOY_POLICIES.items()
        },
        "deploy-state": _state(place, write=True),
        **{
            f"preview-{part}": [s for s in preview if s.service in services]
            for part, services in PREVIEW_POLICIES.items()
        },
        "preview-state": _state(place, write=False),
    }
    documents = {
        name: {"Version": "2012-10-17", "Statement": [statement.document() for statement in chosen]}
        for name, chosen in found.items()
        if chosen
    }
    for name, document in documents.items():
        if (size := length(document)) > POLICY_LIMIT:
            raise PermissionsError(f"policy {name} has {size} characters; IAM allows {POLICY_LIMIT}: split its area")
    return documents


def length(document: Document) -> int:
    """Characters as IAM counts them: without white space."""
    return len(json.dumps(document, separators=(",", ":")))


class _Statements:
    """The statements for the resources of one plan."""

    def __init__(self, plan: Plan, place: Place) -> None:
        self._place = vars(place)
        self._resources = [r for r in plan.resources if r.type.startswith("aws:")]
        self._types = {r.type for r in self._resources}
        if unknown := sorted(self._types - set(CALLS)):
            raise PermissionsError(
                f"nobody has listed what a deployment of {', '.join(unknown)} calls: add it to "
                "infra/iam/provider_calls.py"
            )
        self._calls = [(type_, action) for type_ in sorted(self._types) for action in CALLS[type_]]
        for (type_, prop), actions in CALLS_WHEN_TRUE.items():
            if any(r.type == type_ and r.inputs.get(prop) is True for r in self._resources):
                self._calls += [(type_, action) for action in actions]
        self._names = {kind: self._collect(sources) for kind, sources in NAMES.items()}

    def deploy(self) -> Iterator[Statement]:
        """What makes, changes, deletes and reads the plan's resources."""
        yield from self._grouped(lambda action: _by_tags(action) and (_reads(action) or action in BEFORE_TAGS))
        yield from self._grouped(
            lambda action: _by_tags(action) and not _reads(action) and action not in BEFORE_TAGS, own=True
        )
        yield from self._grouped(lambda action: not _by_tags(action) and action not in _ATTACHING)
        yield from self._roles()

    def preview(self) -> Iterator[Statement]:
        """What reads the plan's resources, and no secret's value."""
        yield from self._grouped(_reads)

    def _grouped(self, wanted: Callable[[str], bool], *, own: bool = False) -> Iterator[Statement]:
        """One statement for each service's actions on resources, and one for those that have none. `own`: only on what
        carries the stack's tags."""
        groups: dict[tuple[str, str], set[str]] = defaultdict(set)
        for type_, action in self._calls:
            if wanted(action):
                service = action.partition(":")[0]
                groups[type_ if (type_, service) in SERVICE_SECRETS else "", service].add(action)
        for (type_, service), actions in sorted(groups.items()):
            sid = "".join(part.capitalize() for part in service.split("-")) + ("Own" if own else "")
            if type_:
                secrets = self._fill(SERVICE_SECRETS[type_, service])
                yield Statement(sid=f"{sid}Of{type_.rpartition(':')[2]}", actions=actions, resources=secrets)
                continue
            kinds = {action: resource_types(action) for action in actions}
            if everywhere := [action for action in actions if not kinds[action]]:
                yield Statement(sid=f"{sid}Anywhere", actions=everywhere, resources=["*"])
            if scoped := [action for action in actions if kinds[action]]:
                arns = {filled for action in scoped for kind in kinds[action] for filled in self._fill(arn(kind))}
                if not arns:
                    raise PermissionsError(f"the plan names no resource for {', '.join(sorted(scoped))}")
                tags = {f"aws:ResourceTag/{tag}": self._place[tag] for tag in ("project", "stack")}
                conditions = {"StringEquals": tags} if own else {}
                yield Statement(sid=sid, actions=scoped, resources=arns, conditions=conditions)

    def _roles(self) -> Iterator[Statement]:
        """Roles that services get: only the stack's, only for the services that its resources name, and with no managed
        policies but those of the plan."""
        own, linked_roles = self._fill(arn("iam:role")), self._fill(LINKED_ROLES)
        attached = {str(r.inputs["policyArn"]) for r in self._resources if r.type == _ATTACHMENT}
        passed = {PASSED_TO[type_] for type_ in self._types & set(PASSED_TO)}
        linked = {LINKED[type_] for type_ in self._types & set(LINKED)}
        for sid, actions, roles, operator, key, values in (
            ("IamManagedPolicies", _ATTACHING, own, "ArnEquals", "iam:PolicyARN", attached),
            ("IamPassRole", ["iam:PassRole"], own, "StringEquals", "iam:PassedToService", passed),
            ("IamServiceLinkedRoles", [_LINKING], linked_roles, "StringEquals", "iam:AWSServiceName", linked),
        ):
            if roles and values:
                conditions = {operator: {key: sorted(values)}}
                yield Statement(sid=sid, actions=actions, resources=roles, conditions=conditions)

    def steps(self, permissions: Iterable[StepPermission]) -> Iterator[Statement]:
        """What the program's own steps call, one statement for each set of resources and conditions."""
        grouped: dict[tuple[str, str, tuple[tuple[str, str, str], ...]], set[str]] = defaultdict(set)
        for each in permissions:
            grouped[each.action.partition(":")[0], each.resource, each.conditions].add(each.action)
        for number, ((_, resource, given), actions) in enumerate(sorted(grouped.items()), start=1):
            conditions: dict[str, dict[str, Any]] = defaultdict(dict)
            for operator, key, value in given:
                filled = self._fill(value)
                conditions[operator][key] = filled[0] if len(filled) == 1 else filled
            yield Statement(
                sid=f"Steps{number}", actions=actions, resources=self._fill(resource), conditions=dict(conditions)
            )

    def _fill(self, template: str) -> list[str]:
        """The template with every combination of the names that it asks for; none when the plan has no such name."""
        kinds = sorted({kind for kind in _PLACEHOLDER.findall(template) if kind not in self._place})
        return [
            template.format(**self._place, **dict(zip(kinds, names, strict=True))).replace("**", "*")
            for names in product(*(self._names[kind] for kind in kinds))
        ]

    def _collect(self, sources: tuple[PlanName, ...]) -> list[str]:
        """The names of a kind, as patterns. Those that begin with the project and the stack become one."""
        project, stack = self._place["project"], self._place["stack"]
        own = (f"{project}-{stack}-", f"/{project}/{stack}/")
        found = set()
        for resource, source in product(self._resources, sources):
            if resource.type == source.type:
                name = _name(resource, source.property)
                found.add(next((f"{start}*" for start in own if name.startswith(start)), name))
        return sorted(found)


def _reads(action: str) -> bool:
    return access_level(action) in ("List", "Read") and action not in DEPLOY_ONLY


def _by_tags(action: str) -> bool:
    return action.partition(":")[0] in TAGGED


def _name(resource: PlannedResource, prop: str) -> str:
    """The physical name of a resource, as a pattern: given, by prefix, or made of its logical name and a suffix."""
    inputs = {key: value.value if isinstance(value, Secret) else value for key, value in resource.inputs.items()}
    given, prefix = inputs.get(prop), inputs.get(f"{prop}Prefix")
    if isinstance(given, str):
        start, star, _ = given.partition("*")
        return start + star
    if isinstance(prefix, str):
        return f"{prefix}*"
    if prop in inputs:
        raise PermissionsError(f"the name of {resource.name} is not known: make the plan with `plan_with_patterns`")
    return f"{resource.name}-*"


def _state(place: Place, *, write: bool) -> list[Statement]:
    """The bucket and the key of Pulumi's state: a preview reads, an update writes and locks."""
    bucket = f"arn:{place.partition}:s3:::{place.state_bucket}"
    key = f"arn:{place.partition}:kms:{place.region}:{place.account}:key/{place.state_key}"
    objects = ("s3:DeleteObject", "s3:GetObject", "s3:PutObject") if write else ("s3:GetObject",)
    uses = ("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey") if write else ("kms:Decrypt",)
    return [
        Statement(sid="StateBucket", actions=("s3:ListBucket",), resources=(bucket,)),
        Statement(sid="StateObjects", actions=objects, resources=(f"{bucket}/*",)),
        Statement(sid="StateKey", actions=uses, resources=(key,)),
    ]
