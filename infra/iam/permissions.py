"""The IAM policies that a stack needs: taken from the resources of its plan, and no more than that.

`deploy` policies let `pulumi up` make, change and delete the stack; `preview` lets it look and compare. A statement
names resources by the names that the plan gives them, by the stack's tags where AWS chooses the names, and says ``*``
only for actions for which IAM knows no resource.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from infra.engine.errors import EngineError
from infra.engine.plan import Plan, PlannedResource
from infra.engine.values import Secret
from infra.iam.aws_actions import SWITCHED, TYPES, Actions
from infra.iam.aws_scopes import (
    AREAS,
    BORROWED,
    LINKED,
    LINKED_ROLES,
    LONGEST_POLICY,
    NAMES,
    PARTS,
    PASSED_TO,
    RESOURCES,
    TAGGED,
    Named,
)

Purpose = Literal["Read", "Create", "Change"]
Document = dict[str, Any]

REFERENCE: Final[Mapping[str, list[str]]] = json.loads(Path(__file__).with_name("aws_reference.json").read_text())
"""Action -> the IAM resource types that a statement may name for it, from AWS's Service Authorization Reference
(November 2026); empty where there are none."""
NO_RESOURCE: Final = "IAM knows no resource for these actions"
_VERSION: Final = "2012-10-17"
_HANDED_OVER: Final = ("iam:AttachRolePolicy", "iam:CreateServiceLinkedRole", "iam:DetachRolePolicy", "iam:PassRole")
_ATTACHMENT: Final = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


class PermissionsError(EngineError):
    """The policies cannot be made; the message says what to add where."""


class Extra(Protocol):
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
    """One statement of a policy; `reason` is given when it names no resource."""

    sid: str
    service: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reason: str = ""

    def document(self) -> Document:
        return {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": sorted(self.actions),
            "Resource": self.resources[0] if self.resources == ("*",) else sorted(self.resources),
            **({"Condition": self.conditions} if self.conditions else {}),
        }


def policies(plan: Plan, place: Place, extras: Iterable[Extra] = ()) -> dict[str, Document]:
    """Policy documents by file name without its ending: ``deploy-<area>``, ``deploy-state``, ``preview``,
    ``preview-state``. Raises PermissionsError for a resource type whose actions nobody has listed."""
    scope = _Scope(plan, place)
    deploy = [*scope.deploying(), *scope.steps(extras)]
    look = list(scope.looking())
    found = {
        **{f"deploy-{area}": [s for s in deploy if s.service in services] for area, services in AREAS.items()},
        "deploy-state": _state(place, write=True),
        **{f"preview-{part}": [s for s in look if s.service in services] for part, services in PARTS.items()},
        "preview-state": _state(place, write=False),
    }
    documents = {name: _document(statements) for name, statements in found.items() if statements}
    for name, document in documents.items():
        if (size := length(document)) > LONGEST_POLICY:
            raise PermissionsError(f"policy {name} has {size} characters; IAM allows {LONGEST_POLICY}: split its area")
    return documents


def length(document: Document) -> int:
    """Characters as IAM counts them: without white space."""
    return len(json.dumps(document, separators=(",", ":")))


class _Scope:
    """The statements for the resources of one plan."""

    def __init__(self, plan: Plan, place: Place) -> None:
        self._place = place
        self._fixed = {name: value for name, value in vars(place).items() if isinstance(value, str)}
        self._resources = [r for r in plan.resources if r.type.startswith("aws:")]
        self._types = sorted({r.type for r in self._resources})
        if unknown := [type_ for type_ in self._types if type_ not in TYPES]:
            raise PermissionsError(
                f"nobody has listed what a deployment of {', '.join(unknown)} calls: add it to infra/iam/aws_actions.py"
            )
        self._tables = [*((type_, TYPES[type_]) for type_ in self._types), *self._switched()]
        self._names = {kind: self._collect(sources) for kind, sources in NAMES.items()}

    def deploying(self) -> Iterator[Statement]:
        """What makes, changes, deletes and reads the plan's resources."""
        yield from self._statements("Read", "Create", only=TAGGED)
        yield from self._statements("Change", only=TAGGED)
        yield from self._statements("Read", "Create", "Change", without=TAGGED)
        yield from self._handed_over()

    def looking(self) -> Iterator[Statement]:
        """What reads the plan's resources, and no secret's value."""
        yield from self._statements("Read")

    def _statements(
        self, *purposes: Purpose, only: tuple[str, ...] = (), without: tuple[str, ...] = ()
    ) -> Iterator[Statement]:
        plain: dict[str, set[str]] = defaultdict(set)
        lent: dict[tuple[str, str], set[str]] = defaultdict(set)
        for (type_, table), purpose in product(self._tables, purposes):
            for action in getattr(table, purpose.lower()):
                service = action.partition(":")[0]
                if action in _HANDED_OVER or (only and service not in only) or service in without:
                    continue
                if any((type_, kind) in BORROWED for kind in REFERENCE[action]):
                    lent[service, type_].add(action)
                else:
                    plain[service].add(action)
        for service, actions in sorted(plain.items()):
            yield from self._cut(service, purposes, actions)
        for (service, type_), actions in sorted(lent.items()):
            yield self._lent(service, type_, actions)

    def steps(self, extras: Iterable[Extra]) -> Iterator[Statement]:
        """What the program's own steps call, one statement for each scope."""
        grouped: dict[tuple[str, str, tuple[tuple[str, str, str], ...]], set[str]] = defaultdict(set)
        for each in extras:
            if each.action in _HANDED_OVER:
                continue  # the plan's own roles, and no others, are handed over
            grouped[each.action.partition(":")[0], each.resource, each.conditions].add(each.action)
        for number, ((service, resource, given), actions) in enumerate(sorted(grouped.items()), start=1):
            conditions: dict[str, dict[str, Any]] = defaultdict(dict)
            for operator, key, value in given:
                filled = self._fill(value)
                conditions[operator][key] = filled[0] if len(filled) == 1 else filled
            yield Statement(
                sid=f"Steps{number}",
                service=service,
                actions=tuple(actions),
                resources=tuple(self._fill(resource)),
                conditions=dict(conditions),
                reason="granted by cluster" if given and resource == "*" else NO_RESOURCE if resource == "*" else "",
            )

    def _cut(self, service: str, purposes: tuple[Purpose, ...], actions: set[str]) -> Iterator[Statement]:
        """One statement for the actions on resources, one for those that know none."""
        changes = purposes == ("Change",)
        sid = f"{_camel(service)}{'Own' if changes else ''}"
        scoped = {action for action in actions if REFERENCE[action]}
        if loose := actions - scoped:
            yield Statement(
                sid=f"{sid}Anywhere", service=service, actions=tuple(loose), resources=("*",), reason=NO_RESOURCE
            )
        if scoped:
            kinds = sorted({kind for action in scoped for kind in REFERENCE[action]})
            arns = {arn for kind in kinds for arn in self._fill(RESOURCES[kind])}
            if not arns:
                raise PermissionsError(f"the plan names no resource for {', '.join(sorted(scoped))}")
            yield Statement(
                sid=sid,
                service=service,
                actions=tuple(scoped),
                resources=tuple(arns),
                conditions={"StringEquals": self._own_tags()} if changes else {},
            )

    def _lent(self, service: str, type_: str, actions: set[str]) -> Statement:
        kinds = {kind for action in actions for kind in REFERENCE[action]}
        arns = [arn for kind in kinds for arn in self._fill(BORROWED[type_, kind])]
        return Statement(
            sid=f"{_camel(service)}Of{type_.rpartition(':')[2]}",
            service=service,
            actions=tuple(actions),
            resources=tuple(arns),
        )

    def _handed_over(self) -> Iterator[Statement]:
        """Roles that services get: only the stack's, only to the services that its resources name, and with no managed
        policies but those of the plan."""
        attached = sorted({str(r.inputs["policyArn"]) for r in self._resources if r.type == _ATTACHMENT})
        if attached:
            yield Statement(
                sid="IamManagedPolicies",
                service="iam",
                actions=("iam:AttachRolePolicy", "iam:DetachRolePolicy"),
                resources=tuple(self._fill(RESOURCES["iam:role"])),
                conditions={"ArnEquals": {"iam:PolicyARN": attached}},
            )
        passed = sorted({PASSED_TO[type_] for type_ in self._types if type_ in PASSED_TO})
        if passed and self._names["role"]:
            yield Statement(
                sid="IamPassRole",
                service="iam",
                actions=("iam:PassRole",),
                resources=tuple(self._fill(RESOURCES["iam:role"])),
                conditions={"StringEquals": {"iam:PassedToService": passed}},
            )
        linked = sorted({LINKED[type_] for type_ in self._types if type_ in LINKED})
        if linked:
            yield Statement(
                sid="IamServiceLinkedRoles",
                service="iam",
                actions=("iam:CreateServiceLinkedRole",),
                resources=tuple(self._fill(LINKED_ROLES)),
                conditions={"StringEquals": {"iam:AWSServiceName": linked}},
            )

    def _switched(self) -> Iterator[tuple[str, Actions]]:
        for (type_, prop), table in SWITCHED.items():
            if any(r.type == type_ and r.inputs.get(prop) is True for r in self._resources):
                yield type_, table

    def _own_tags(self) -> dict[str, str]:
        return {"aws:ResourceTag/project": self._place.project, "aws:ResourceTag/stack": self._place.stack}

    def _fill(self, template: str) -> list[str]:
        """The template with every combination of the names that it asks for; none when the plan has no such name."""
        kinds = sorted({kind for kind in _PLACEHOLDER.findall(template) if kind not in self._fixed})
        return [
            template.format(**self._fixed, **dict(zip(kinds, names, strict=True))).replace("**", "*")
            for names in product(*(self._names[kind] for kind in kinds))
        ]

    def _collect(self, sources: tuple[Named, ...]) -> list[str]:
        """The names of a kind, as patterns. Those that begin with the project and the stack are one."""
        own = f"{self._place.project}-{self._place.stack}-"
        own_path = f"/{self._place.project}/{self._place.stack}/"
        found = set()
        for source in sources:
            for resource in self._resources:
                if resource.type == source.type:
                    name = _name(resource, source.property)
                    found.add(next((f"{start}*" for start in (own, own_path) if name.startswith(start)), name))
        return sorted(found)


def _name(resource: PlannedResource, prop: str) -> str:
    """The physical name of a resource, as a pattern: given, by prefix, or made of its logical name and a suffix."""
    given, prefix = _plain(resource.inputs.get(prop)), _plain(resource.inputs.get(f"{prop}Prefix"))
    if isinstance(given, str):
        start, star, _ = given.partition("*")
        return start + star
    if isinstance(prefix, str):
        return f"{prefix}*"
    if prop in resource.inputs:
        raise PermissionsError(f"the name of {resource.name} is not known: make the plan with `plan_with_patterns`")
    return f"{resource.name}-*"


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Secret) else value


def _camel(service: str) -> str:
    return "".join(part.capitalize() for part in service.split("-"))


def _state(place: Place, *, write: bool) -> list[Statement]:
    """The bucket and the key of Pulumi's state: a preview reads, an update writes and locks."""
    bucket = f"arn:{place.partition}:s3:::{place.state_bucket}"
    key = f"arn:{place.partition}:kms:{place.region}:{place.account}:key/{place.state_key}"
    objects = ("s3:DeleteObject", "s3:GetObject", "s3:PutObject") if write else ("s3:GetObject",)
    uses = ("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey") if write else ("kms:Decrypt",)
    return [
        Statement(sid="StateBucket", service="s3", actions=("s3:ListBucket",), resources=(bucket,)),
        Statement(sid="StateObjects", service="s3", actions=objects, resources=(f"{bucket}/*",)),
        Statement(sid="StateKey", service="kms", actions=uses, resources=(key,)),
    ]


def _document(statements: list[Statement]) -> Document:
    return {"Version": _VERSION, "Statement": [statement.document() for statement in statements]}


def reasons(plan: Plan, place: Place, extras: Iterable[Extra] = ()) -> dict[str, str]:
    """Why a statement may name ``*``: by its Sid."""
    scope = _Scope(plan, place)
    found = [*scope.deploying(), *scope.looking(), *scope.steps(extras)]
    return {statement.sid: statement.reason for statement in found if statement.reason}
