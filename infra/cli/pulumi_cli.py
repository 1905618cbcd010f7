"""The Pulumi CLI, where there is one: found, checked, and run on the same state and with the same passphrase."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from infra.cli.context import Context
from infra.cli.exits import FAILED, INTERRUPTED, OK, CommandError

MINIMUM: Final = (3, 238)
"""The first CLI in which a failing after-hook fails the update, which a truthful `up` depends on."""
DELETE_DATA: Final = "SLIPWAY_DELETE_DATA"
"""What the local target's dynamic providers read, in whichever process they run: `1` lets a delete take the data."""
INSTALL: Final = "https://www.pulumi.com/docs/install/"
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


def keeps_state(context: Context) -> bool:
    """Whether the state is in a backend that only the CLI can reach."""
    url = context.environ.get("PULUMI_BACKEND_URL")
    return bool(url) and not str(url).startswith("file://") and chosen(context) is not None


def run(context: Context, path: str, command: str, options: Sequence[str] = (), *, delete_data: bool = False) -> int:
    """Run ``pulumi COMMAND`` for the stack, on this terminal; returns the exit code in slipway's terms."""
    environment = environment_for(context, delete_data=delete_data)
    ensure_stack(context, path, environment)
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
    if not interrupted and context.target == "local":
        context.console.note(
            "The Pulumi CLI ran this. The local stack can do without: SLIPWAY_ENGINE=inprocess works on the same state."
        )
    return INTERRUPTED if interrupted else FAILED


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
    from infra.engine.location import LOCAL_STACK, backend_url, working_passphrase

    environment = dict(context.environ)
    environment["PULUMI_BACKEND_URL"] = backend_url(context.project, context.environ)
    if context.stack == LOCAL_STACK and (passphrase := working_passphrase(context.file, context.environ)) is not None:
        environment["PULUMI_CONFIG_PASSPHRASE"] = passphrase
    # The program and its dynamic providers import the project, which is installed beside this interpreter.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    environment[DELETE_DATA] = "1" if delete_data else "0"
    return environment


def ensure_stack(context: Context, path: str, environment: dict[str, str]) -> None:
    """Create the stack in the CLI's backend when it is not there yet."""
    if _known(context, path, environment):
        return
    context.console.note(f"creating stack {context.stack!r} in {environment['PULUMI_BACKEND_URL']}")
    answer = _ask(context, [path, "stack", "init", context.stack, "--no-select", "--non-interactive"], environment)
    if answer.returncode:
        raise CommandError(f"pulumi stack init failed: {answer.stderr.strip() or answer.stdout.strip()}")


def _known(context: Context, path: str, environment: dict[str, str]) -> bool:
    from infra.engine.files import make_private

    context.file  # noqa: B018 - a stack with no file must not be created by a slip of the pen
    if environment["PULUMI_BACKEND_URL"].startswith("file://"):
        # The CLI expects the folder to exist.
        make_private(context.backend.root)
        return context.backend.exists(context.project.name, context.stack)
    return _ask(context, [path, "stack", "--stack", context.stack, "--show-name"], environment).returncode == 0


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
