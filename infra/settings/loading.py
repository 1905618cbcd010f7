"""From stack config to `Settings`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pulumi
from pulumi.runtime import config as runtime_config
from pydantic import ValidationError

from infra.property_paths import Path
from infra.settings import defaults, explain
from infra.settings.invariants import check
from infra.settings.problems import Problem, SettingsError
from infra.settings.tree import Settings

_DEFAULT_PROJECT = "slipway"


def from_pulumi() -> Settings:
    """The settings of the running Pulumi program; raises SettingsError."""
    values = {**runtime_config.get_config_env(), **runtime_config.CONFIG.get()}
    hidden = {*runtime_config.get_config_secret_keys_env(), *filter(runtime_config.is_config_secret, values)}
    return load(values, project=pulumi.get_project(), stack=pulumi.get_stack(), secret_keys=hidden)


def load(values: Mapping[str, str], *, project: str, stack: str, secret_keys: Collection[str] = ()) -> Settings:
    """The settings in Pulumi's runtime config: full key (``slipway:api``) -> text, JSON for maps and lists.

    Keys of providers (``aws:region``) are left alone. Values of `secret_keys` never show in a report.
    Raises SettingsError.
    """
    prefix = f"{project}:"
    tree = {key.removeprefix(prefix): _read(text) for key, text in values.items() if key.startswith(prefix)}
    hidden = {key.removeprefix(prefix) for key in secret_keys if key.startswith(prefix)}
    # The project file gives every key a default; an empty text is its way to say "not set".
    given = {key: value for key, value in tree.items() if value != ""}
    return _settings(given, stack=stack, project=project, hidden=hidden, known=_misspelled(values, project=project))


def parse(tree: Mapping[str, Any], *, stack: str, project: str = _DEFAULT_PROJECT) -> Settings:
    """The settings in a plain tree, as a stack file holds them under `config`. Raises SettingsError."""
    return _settings(tree, stack=stack, project=project, hidden=(), known=())


def _settings(
    tree: Mapping[str, Any], *, stack: str, project: str, hidden: Collection[str], known: Sequence[Problem]
) -> Settings:
    """The settings, or every problem at once: those already `known` and those of the tree."""
    writer = explain.Writer(tree, stack=stack, hidden=frozenset(hidden))
    settings, problems = _validate(tree, writer, stack=stack, project=project)
    bad = {problem.where for problem in problems}
    if settings is None and ("target",) not in bad:
        # The rest of the tree is checked with the faulty keys at their defaults, so that one run shows every problem.
        settings, _ = _validate(_without(tree, bad), writer, stack=stack, project=project)
    # Both are fields of the model, but Pulumi says them: a stack file cannot.
    problems += [writer.unknown((name,)) for name in ("project", "stack") if name in tree]
    reports: list[Problem] = [*known, *(found.problem for found in problems)]
    if settings is not None:
        reports += (writer.broken(found, settings) for found in check(settings, tree) if not found.touches(bad))
    if reports or settings is None:
        raise SettingsError(explain.in_tree_order(reports), stack=stack) from None
    return settings


def _misspelled(values: Mapping[str, str], *, project: str) -> tuple[Problem, ...]:
    """Keys whose namespace is nearly the project's: they would be taken for a provider's, and silently do nothing."""
    return tuple(
        Problem(
            path=key,
            value=None,
            message="is no key of this project, and would do nothing",
            nearest=f"{project}:{key.partition(':')[2]}",
        )
        for key in values
        if (namespace := key.partition(":")[0]) != project
        and difflib.get_close_matches(namespace, [project], cutoff=0.7)
    )


def _validate(
    tree: Mapping[str, Any], writer: explain.Writer, *, stack: str, project: str
) -> tuple[Settings | None, list[explain.Located]]:
    try:
        return Settings.model_validate({**defaults.complete(tree), "project": project, "stack": stack}), []
    except ValidationError as invalid:
        return None, writer.invalid(invalid.errors(include_url=False, include_context=False))


def _without(tree: Mapping[str, Any], paths: Collection[Path]) -> dict[str, Any]:
    """A copy of `tree` without the values at `paths`."""
    copy = json.loads(json.dumps(tree, default=str))
    for path in sorted(paths, key=lambda path: [str(part).zfill(6) for part in path], reverse=True):
        *parents, last = path
        place: Any = copy
        with suppress(KeyError, IndexError, TypeError):  # a key that is missing, or lies below a plain value
            for part in parents:
                place = place[part]
            del place[last]
    return copy  # type: ignore[no-any-return]


def _read(text: Any) -> Any:
    """Maps and lists come as JSON; everything else is the text itself."""
    if isinstance(text, str) and text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text
