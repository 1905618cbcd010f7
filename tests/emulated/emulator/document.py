"""Writes `docs/aws/emulation.md` from the tables."""

from __future__ import annotations

from collections import defaultdict

from emulator.kinds import FACTS, KINDS
from emulator.mapping import Step
from emulator.standins import TABLE

HEAD = """# How the AWS stacks are tried without AWS

`make test-aws` applies, changes and destroys the stacks in one process, without an account, a network or a plugin.
An AWS provider of the tests (`tests/emulated/emulator`) takes the place of Pulumi's: it turns each resource into AWS
calls by tables and makes them with boto3 against [moto](https://docs.getmoto.org). This page is written from those
tables: `UPDATE_GOLDEN=1 pytest tests/emulated/test_emulation_document.py`.

## What it proves

- Every argument of every call is held against botocore's model of the service before the call: unknown members, types,
  required members, enums, patterns, lengths and ranges. This covers the calls of the stack's own control resources and
  of the tests too. A property that has no place in a table is refused, not dropped.
- Dependencies hold: a call that names what is not there is refused wherever moto checks references.

## What it does not prove

- What only AWS knows: quotas, capacity, permissions (no IAM policy is evaluated), how long anything takes, the
  characters that EC2 or RDS accept where their models do not say it.
- The real provider's own code: its validation, waits and retries.
- What replaces a resource, where "Replacement" below says that no facts are known. Trust a preview by the real provider
  over these tests where it matters.
- Traffic. No packet flows and no container runs.
- moto checks fewer references than AWS does, and keeps some values without a look at them.
- The models' patterns are written for Java; character classes such as `\\p{L}` are taken for a little more than they
  are.

## What stands in for Fargate

moto lists tasks and services without running them. `emulator/fargate.py` starts a task only if each secret of its
definition can be fetched at the version that it names, its image is a digest and its log group is there. A one-off task
then ends with exit code 0, or with the one that a test sets, and its log lines are in CloudWatch Logs. A service is
stable at once, and its deployment has failed (rolled back with the circuit breaker) when its tasks could not start.
Health checks, alarms and time play no part: scripted streams of ECS answers in `tests/components/aws/control` do that.
"""


WHEN = {
    "capacityProviderStrategies": "unless `forceNewDeployment` is set and there are some before and after",
    "engine": "from Valkey to Redis",
    "engineVersion": "to a lower one",
}


def text() -> str:
    return "\n".join([HEAD, *_stand_ins(), *_types(), *_replacement(), *_without_a_call()]) + "\n"


def _stand_ins() -> list[str]:
    lines = ["## What stands in for operations that moto lacks", ""]
    lines += ["Requests and answers are held to the service model like all others.", ""]
    lines += ["| service | operation | what the stand-in does |", "| --- | --- | --- |"]
    lines += [f"| {service} | {name} | {found.what} |" for (service, name), found in sorted(TABLE.items())]
    return [*lines, ""]


def _types() -> list[str]:
    services = defaultdict(list)
    for type_, kind in sorted(KINDS.items()):
        services[kind.service].append((type_, kind))
    lines = ["## Resource types", "", "| service | type | made by |", "| --- | --- | --- |"]
    for service, kinds in sorted(services.items()):
        for type_, kind in kinds:
            made = kind.create.operation if isinstance(kind.create, Step) else "several calls"
            lines.append(f"| {service} | `{type_}` | {made} |")
    return [*lines, ""]


def _replacement() -> list[str]:
    facts = FACTS["types"]
    lines = ["## Replacement", ""]
    lines.append(f"The tables follow `{FACTS['source']}` {FACTS['release']} for {len(facts)} types, as written down in")
    lines += ["`tests/emulated/emulator/replacements.json`; a test holds them to it. Under conditions replace:", ""]
    lines += [
        f"- `{type_}`: `{name}`, {WHEN[name]}" for type_, kind in sorted(KINDS.items()) for name in kind.replaces_when
    ]
    lines += ["", "Written from general knowledge of the provider, since no facts are known:", ""]
    lines += [f"- `{type_}`" for type_ in sorted(set(KINDS) - set(facts))]
    return [*lines, ""]


def _without_a_call() -> list[str]:
    lines = ["## Properties that reach no call", "", "| type | property | why |", "| --- | --- | --- |"]
    for type_, kind in sorted(KINDS.items()):
        if isinstance(kind.create, Step):
            lines += [f"| `{type_}` | `{name}` | {why} |" for name, why in sorted(kind.local.items())]
    return lines
