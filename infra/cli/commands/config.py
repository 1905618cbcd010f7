"""`slipway config`: read and change a stack's settings, with the file's comments kept."""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from typing import Any

from infra.cli import keypath
from infra.cli.context import Context
from infra.cli.exits import FAILED, OK, CommandError, UsageError
from infra.cli.pulumi_cli import LOCAL_TARGET
from infra.cli.subcommands import Subcommands
from infra.property_paths import Path, render_path

MASK = "[secret]"


def register(commands: Subcommands) -> None:
    actions = commands.add_group(
        "config",
        help="read and change a stack's settings",
        description="Read and change the settings in Pulumi.<stack>.yaml. Keys read api.replicas, cors_origins[0].",
    )

    show = actions.add(
        "get",
        run_get,
        help="print a setting, or all that the stack's file sets",
        description="Print one setting, or without KEY all that the stack's file sets.",
    )
    show.add_argument("key", nargs="?", metavar="KEY", help="as api.replicas, cors_origins[0] (default: all)")
    show.add_argument("--json", action="store_true", help="as JSON")
    show.add_argument("--show-secrets", action="store_true", help="print secrets in plain text (needs the passphrase)")

    change = actions.add(
        "set",
        run_set,
        help="change a setting",
        description="Change one setting. It is checked first, and written only when it adds no problem; a secret that "
        "it needs may follow, and is named. Where the setting is a text, VALUE is that text as typed (image.version "
        "1.10); else it reads as in YAML: 2 is a number, true a boolean, [a, b] a list. With --secret it is read from "
        "standard input, so that it stays out of the shell's history, and written encrypted.",
    )
    change.add_argument("key", metavar="KEY", help="as api.replicas, cors_origins[0]")
    change.add_argument("value", nargs="?", metavar="VALUE", help="the value (default: read from standard input)")
    change.add_argument("--secret", action="store_true", help="encrypt the value")

    drop = actions.add(
        "rm",
        run_rm,
        help="remove a setting, so that its default holds",
        description="Remove one setting from the stack's file, so that its default holds.",
    )
    drop.add_argument("key", metavar="KEY", help="as api.replicas, cors_origins[0]")


def run_get(context: Context, args: argparse.Namespace) -> int:
    section = _section(context)
    if args.key is None:
        shown = {key: _shown(context, value, args.show_secrets) for key, value in section.items()}
        if args.json:
            context.console.print(json.dumps(shown, indent=2))
        else:
            prefix = f"{context.project.name}:"
            rows = [leaf for key, value in shown.items() for leaf in keypath.leaves(value, key.removeprefix(prefix))]
            context.console.table(("KEY", "VALUE"), [(key, _text(value)) for key, value in rows])
        return OK
    path = keypath.parse(args.key, project=context.project.name)
    try:
        value = _shown(context, keypath.get(section, path), args.show_secrets)
    except KeyError:
        return _print_default(context, args.key, path)
    context.console.print(json.dumps(value, indent=2) if args.json or isinstance(value, dict) else _text(value))
    return OK


def _print_default(context: Context, key: str, path: Path) -> int:
    """Print the value that holds where the file is silent; FAILED for a key without one."""
    from infra.cli.validation import in_effect

    value = in_effect(context.file, path)
    if value is None:
        context.console.error(f"{key} is not set in {context.file.path.name}, and has no default")
        return FAILED
    context.console.print(value)
    context.console.note(f"({context.file.path.name} does not set it: this is the default)")
    return OK


def run_set(context: Context, args: argparse.Namespace) -> int:
    path = keypath.parse(args.key, project=context.project.name)
    _check_secrecy(context, path, secret=args.secret)
    to_do: list[str] = []
    if args.secret:
        _set_secret(context, path, _secret_value(context, args))
    else:
        to_do = _set_checked(context, path, _forms(context, path, _value(context, args)))
    context.file.save()
    context.console.note(f"set {args.key} in {context.file.path.name}")
    if to_do:
        context.console.note("\n".join(["next, or `slipway up` will refuse it:", *to_do]))
    return OK


def run_rm(context: Context, args: argparse.Namespace) -> int:
    path = keypath.parse(args.key, project=context.project.name)
    if not keypath.remove(_section(context), path):
        raise CommandError(f"{args.key} is not set in {context.file.path.name}: there is nothing to remove")
    _change(context, path, lambda tree: keypath.remove(tree, path))
    _refuse_new_problems(context)
    context.file.save()
    context.console.note(f"removed {args.key} from {context.file.path.name}")
    return OK


def _set_secret(context: Context, path: Path, plaintext: str) -> None:
    """Check the plaintext where it will stand, and put its ciphertext there."""
    from infra.engine.project import yaml_file
    from infra.engine.project.location import open_or_create_secrets

    _change(context, path, lambda tree: keypath.put(tree, path, plaintext))
    _refuse_new_problems(context)
    _refuse_to_choose(context)
    secrets = open_or_create_secrets(context.file, context.environ, save=False)
    keypath.put(_writable(context), path, yaml_file.block_map({"secure": secrets.encrypt(plaintext)}))


def _refuse_to_choose(context: Context) -> None:
    """Raise CommandError where the first secret of a stack would silently choose a passphrase to encrypt all with."""
    file = context.file
    if context.target != LOCAL_TARGET and file.encryption_salt is None and not file.secrets_provider:
        raise CommandError(
            f"{file.path.name} does not say yet what encrypts its secrets. `pulumi stack init {context.stack}` does, "
            "with --secrets-provider for a key of the cloud (docs/aws/README.md), without it for a passphrase"
        )


def _forms(context: Context, path: Path, text: str) -> list[Any]:
    """What may be meant by what was typed, the likelier first.

    A text is what was typed: as YAML, commit 6063e25 was deployed as version 6.063e+28.
    """
    from infra.cli.validation import takes_text
    from infra.engine.project import yaml_file
    from infra.engine.project.yaml_nodes import Ambiguous

    plain = yaml_file.quoted(text)
    if takes_text(path, project=context.project.name):
        return [plain]
    try:
        value = yaml_file.parse_value(text)
    except Ambiguous as error:
        if len(path) == 1 and not str(path[0]).startswith(f"{context.project.name}:"):
            return [plain]  # A provider's own: it gets text in any case.
        what = "; ".join(problem.partition(": ")[2] for problem in error.problems)
        raise CommandError(f"{context.file.path.name} was not changed: {render_path(path)}: {what}") from None
    return [value] if value == text else [value, plain]


def _change(context: Context, path: Path, edit: Callable[[Any], object]) -> None:
    """Edit the value at `path`; raises CommandError where the file's form would carry the change elsewhere.

    `*name` stands for the very map that `&name` marks: a worker group's new number of replicas was also another's.
    """
    wanted = _section(context)
    edit(wanted)
    try:
        edit(_writable(context))
        alone = _section(context) == wanted
    except (KeyError, AttributeError):
        alone = False
    if not alone:
        raise CommandError(
            f"{context.file.path.name} was not changed: {render_path(path)} stands there through an alias (*name) or "
            "a merge (<<), so that it cannot change alone. Write the value out, or change it by hand"
        )


def _set_checked(context: Context, path: Path, forms: list[Any]) -> list[str]:
    """Put the first of `forms` (the value as YAML reads it, then as plain text) that the settings accept.

    Returns what it leaves to do with secrets: lines to show, empty when there is nothing.
    """
    first: CommandError | None = None
    for form in forms:
        context.file.data = context.file.as_read().data
        _change(context, path, lambda tree, form=form: keypath.put(tree, path, copy.copy(form)))  # type: ignore[misc]
        try:
            return _refuse_new_problems(context, secrets_later=True)
        except CommandError as error:
            first = first or error
    assert first is not None
    raise first


def _check_secrecy(context: Context, path: Path, *, secret: bool) -> None:
    """Raise UsageError where a secret would be written readable, or a plain setting encrypted."""
    from infra.cli.validation import find_key
    from infra.engine.project.project import is_secure

    setting = find_key(path, project=context.project.name)
    key = render_path(path).removeprefix(f"{context.project.name}:")
    try:
        encrypted = is_secure(keypath.get(_section(context), path))
    except KeyError:
        encrypted = False
    if not secret and (encrypted or (setting and setting.secret)):
        raise UsageError(f"{key} is a secret: set it with `slipway config set --secret {key}`, value on standard input")
    if secret and setting and not setting.secret:
        raise UsageError(f"{key} is not a secret, and the plan shows it: set it without --secret")


def _refuse_new_problems(context: Context, *, secrets_later: bool = False) -> list[str]:
    """Raise CommandError when the file as changed has problems that it had not before.

    With `secrets_later` those with secrets are returned instead, as lines. A command sets a setting or a secret, so of
    two that need each other one comes first: `postgres.provider: external` and its URL each refused to be the first.
    """
    from infra.cli.validation import problems

    old = {str(problem) for problem in problems(context.file.as_read())}
    new = [problem for problem in problems(context.file) if str(problem) not in old]
    lines = [f"  {line}" for problem in new for line in str(problem).splitlines()]
    if secrets_later and all(problem.path.startswith("secrets.") for problem in new):
        return lines
    if new:
        raise CommandError("\n".join([f"{context.file.path.name} was not changed:", *lines]))
    return []


def _value(context: Context, args: argparse.Namespace) -> str:
    """The value as typed, or as piped in without the line's end."""
    text: str = args.value
    if args.value is None and not (text := _piped(context, args).rstrip("\r\n")):
        raise UsageError(f"there is no value: write one after {args.key}, or pipe it in")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the value of {args.key} is not text in this terminal's encoding (UTF-8 is)") from None
    return text


def _piped(context: Context, args: argparse.Namespace) -> str:
    try:
        return context.console.input.read()
    except UnicodeDecodeError:
        raise UsageError(f"what came from standard input for {args.key} is not UTF-8 text") from None


def _secret_value(context: Context, args: argparse.Namespace) -> str:
    if args.value is not None:
        raise UsageError(
            "a secret on the command line stays in the shell's history: leave VALUE out and type it, or pipe it in, as "
            f'in `printf %s "$VALUE" | slipway config set --secret {args.key}`'
        )
    if context.console.interactive:
        import getpass

        try:
            value = getpass.getpass(f"{args.key}: ")
        except EOFError:
            value = ""
    else:
        value = _piped(context, args).removesuffix("\n")
    if not value:
        raise UsageError("the secret is empty: nothing came from standard input")
    return value


def _section(context: Context) -> dict[str, Any]:
    """The config that the stack's own file sets, by full key, in JSON types."""
    from infra.engine.state import go_json

    plain: dict[str, Any] = go_json.plain(context.file.data.get("config") or {})
    return plain


def _writable(context: Context) -> Any:
    """The file's config section itself, made when it is missing."""
    from infra.engine.project import yaml_file

    if not context.file.data.get("config"):
        context.file.data["config"] = yaml_file.block_map({})
    return context.file.data["config"]


def _shown(context: Context, value: Any, show_secrets: bool) -> Any:
    from infra.engine.project.project import is_secure

    if is_secure(value):
        return context.secrets.decrypt(value["secure"]) if show_secrets else MASK
    if isinstance(value, dict):
        return {key: _shown(context, item, show_secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(context, item, show_secrets) for item in value]
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
