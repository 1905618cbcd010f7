"""The Pulumi CLI, where there is one: found, checked, and run on the same state and with the same passphrase."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from infra.cli.context import Context
from infra.cli.exits import FAILED, INTERRUPTED, OK, CommandError
from infra.local.paths import DELETE_DATA

MINIMUM: Final = (3, 238)
"""The first CLI in which a failing after-hook fails the update, which a truthful `up` depends on."""
INSTALL: Final = "https://www.pulumi.com/docs/install/"
LOCAL_TARGET: Final = "local"
_PLUGIN: Final = "random"
"""The only plugin that the local stack needs beside what comes with the CLI."""
_ENGINES: Final = ("auto", "inprocess", "pulumi")
_CHECK_TIMEOUT: Final = 30.0
"""Seconds for the short questions that are asked of the CLI."""


def chosen(context: Context) -> str | None:
    """The path of the CLI to use, or None for the engine in process, as SLIPWAY_ENGINE and PATH say.

    Raises CommandError when the CLI is asked for and missing, or too old.
    """
    wanted = context.environ.get("SLIPWAY_ENGINE") or "auto"
    if wanted not in _ENGINES:
        raise CommandError(f"SLIPWAY_ENGINE is {wanted!r}: it can be {', '.join(_ENGINES)}")
    if wanted == "inprocess":
        return None
    path = shutil.which("pulumi", path=context.environ.get("PATH"))
    if path is None:
        if wanted == "pulumi":
            raise CommandError(f"SLIPWAY_ENGINE is pulumi, but no pulumi is on PATH: install it ({INSTALL})")
        return None
    _check_version(context, path)
    context.console.detail(f"engine: {path}")
    return path


def chosen_for_existing(context: Context) -> str | None:
    """As `chosen`, for a command that makes no stack: a local stack that is not there yet is left to the engine in
    process, which writes nothing for it.

    Raises CommandError for any other stack that is not there. A preview that made it would choose for good what its
    secrets are encrypted with, and in whichever backend a wrong variable named.
    """
    path = chosen(context)
    if path is None:
        return None
    environment = environment_for(context)
    if _known(context, path, environment):
        return path
    if context.target == LOCAL_TARGET and _in_files(environment):
        return None
    raise _not_there(context, environment)


def keeps_state(context: Context) -> bool:
    """Whether the state is in a backend that only the CLI can reach."""
    return not _in_files({"PULUMI_BACKEND_URL": _backend(context)}) and chosen(context) is not None


def run(context: Context, path: str, command: str, options: Sequence[str] = (), *, delete_data: bool = False) -> int:
    """Run ``pulumi COMMAND`` for the stack, on this terminal; returns the exit code in slipway's terms.

    An `up` makes a local stack that is not there yet, and raises CommandError for any other. Raises LockedError when
    another run holds the stack; the lock of one that died on this machine is removed first, which the CLI does not do.
    """
    environment = environment_for(context, delete_data=delete_data)
    if command == "up":
        ensure_stack(context, path, environment)
    if command != "preview" and _in_files(environment):
        # A preview takes no lock.
        context.backend.clear_dead_locks(context.project.name, context.stack, report=context.console.note)
    arguments = [path, command, "--stack", context.stack, *options]
    if not context.console.interactive:
        arguments.append("--non-interactive")
    # Ctrl-C reaches the CLI too, which ends its work in order; this process waits for it, twice pressed or not.
    interrupted = []
    before = signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
    try:
        code = subprocess.call(arguments, cwd=context.project.root, env=environment)
    finally:
        signal.signal(signal.SIGINT, before)
    if code == 0:
        return OK
    if not interrupted:
        _report_missing_plugin(context, path, environment)
    return INTERRUPTED if interrupted else FAILED


def _report_missing_plugin(context: Context, path: str, environment: dict[str, str]) -> None:
    """Say that the engine in process can do without the CLI, where that may be what failed and is true."""
    if context.target != LOCAL_TARGET or not _in_files(environment) or context.file.secrets_provider:
        return
    if shutil.which(f"pulumi-resource-{_PLUGIN}", path=environment["PATH"]):
        return
    answer = _ask(context, [path, "plugin", "ls", "--json"], environment)
    try:
        names = {plugin["name"] for plugin in json.loads(answer.stdout)}
    except (ValueError, TypeError, KeyError):
        return
    if _PLUGIN not in names:
        context.console.note(
            f"The Pulumi CLI has no plugin {_PLUGIN!r}: `pulumi install` fetches it. The local stack can do without "
            "the CLI, on the same state: SLIPWAY_ENGINE=inprocess"
        )


def outputs(context: Context, *, show_secrets: bool) -> dict[str, Any]:
    """The stack's outputs, asked of the CLI."""
    path = chosen(context)
    assert path is not None, "asked only where `keeps_state`"
    arguments = [path, "stack", "output", "--json", "--stack", context.stack]
    answer = _ask(context, [*arguments, *(["--show-secrets"] if show_secrets else [])], environment_for(context))
    if answer.returncode:
        raise CommandError(f"pulumi stack output failed: {answer.stderr.strip()}")
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def environment_for(context: Context, *, delete_data: bool = False) -> dict[str, str]:
    """The environment in which the CLI finds this state, this passphrase and this interpreter."""
    from infra.engine.project.location import LOCAL_STACK, working_passphrase

    environment = dict(context.environ)
    environment.pop("PULUMI_BACKEND_URL", None)
    if backend := _backend(context):
        environment["PULUMI_BACKEND_URL"] = backend
    if context.stack == LOCAL_STACK and (passphrase := working_passphrase(context.file, context.environ)) is not None:
        environment["PULUMI_CONFIG_PASSPHRASE"] = passphrase
    # The program and its dynamic providers import the project, which is installed beside this interpreter.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    environment[DELETE_DATA] = "1" if delete_data else "0"
    return environment


def ensure_stack(context: Context, path: str, environment: dict[str, str]) -> None:
    """Create a local stack in the CLI's backend when it is not there yet; raises CommandError for any other."""
    if _known(context, path, environment):
        return
    if context.target != LOCAL_TARGET:
        raise _not_there(context, environment)
    context.console.note(f"creating stack {context.stack!r} in {environment['PULUMI_BACKEND_URL']}")
    answer = _ask(context, [path, "stack", "init", context.stack, "--no-select", "--non-interactive"], environment)
    if answer.returncode:
        raise CommandError(f"pulumi stack init failed: {answer.stderr.strip() or answer.stdout.strip()}")


def _known(context: Context, path: str, environment: dict[str, str]) -> bool:
    from infra.engine.state.files import make_private

    context.file  # noqa: B018 - a stack with no file must not be created by a slip of the pen
    if _in_files(environment):
        # The CLI expects the folder to exist.
        make_private(context.backend.root)
        return context.backend.exists(context.project.name, context.stack)
    answer = _ask(context, [path, "stack", "--stack", context.stack, "--show-name"], environment)
    if answer.returncode and "no stack named" not in answer.stderr:
        # No network, nobody logged in: that says nothing about the stack.
        answered = answer.stderr.strip() or answer.stdout.strip()
        raise CommandError(f"the Pulumi CLI cannot tell whether stack {context.stack!r} exists: {answered}")
    return answer.returncode == 0


def _backend(context: Context) -> str | None:
    """The URL of the backend with the stack's state; None where it is the one that `pulumi login` chose.

    A cloud stack is where the CLI alone would find it. Its state is in this folder only if it was made there.
    """
    from infra.engine.project.location import backend_url, state_root

    url = context.environ.get("PULUMI_BACKEND_URL")
    if url or context.target == LOCAL_TARGET:
        return backend_url(context.project, context.environ)
    from infra.engine.state.backend import FileBackend

    local = FileBackend(state_root(context.project, context.environ))
    return backend_url(context.project, context.environ) if local.exists(context.project.name, context.stack) else None


def _in_files(environment: Mapping[str, str | None]) -> bool:
    return str(environment.get("PULUMI_BACKEND_URL")).startswith("file://")


def _not_there(context: Context, environment: Mapping[str, str]) -> CommandError:
    stack = context.stack
    where = environment.get("PULUMI_BACKEND_URL") or "the backend that `pulumi login` chose"
    provider = context.file.secrets_provider or "PROVIDER"
    return CommandError(
        f"there is no stack {stack!r} in {where}, so there is nothing to compare with or to change. If there should "
        "be, look at PULUMI_BACKEND_URL and `pulumi whoami --verbose`. To make it, choose what encrypts its secrets:\n"
        f"  pulumi stack init {stack} --secrets-provider '{provider}'\n"
        f"docs/aws/README.md has an example. `slipway plan --stack {stack}` shows the stack without any state."
    )


def _check_version(context: Context, path: str) -> None:
    answer = _ask(context, [path, "version"], dict(context.environ))
    found = re.search(r"v?(\d+)\.(\d+)\.", answer.stdout)
    if answer.returncode or not found:
        raise CommandError(
            f"{path} does not say its version ({answer.stderr.strip() or answer.stdout.strip() or 'no answer'}): "
            f"reinstall it ({INSTALL}), or set SLIPWAY_ENGINE=inprocess"
        )
    if (int(found[1]), int(found[2])) < MINIMUM:
        raise CommandError(
            f"{path} is version {answer.stdout.strip()}, and slipway needs {MINIMUM[0]}.{MINIMUM[1]} or newer: "
            f"get a newer one ({INSTALL}), or set SLIPWAY_ENGINE=inprocess"
        )


def _ask(context: Context, arguments: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            arguments,
            cwd=context.project.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_CHECK_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CommandError(f"`{' '.join(arguments)}` has not answered within {_CHECK_TIMEOUT:.0f} s") from None
    except OSError as error:
        raise CommandError(f"cannot run {arguments[0]}: {error.strerror}") from error
