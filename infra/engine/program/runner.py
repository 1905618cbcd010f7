"""Runs the Pulumi program in this process, against monitor objects instead of a server.

The program may run several times in one process (preview, then up), so whatever a run changes in the interpreter is
put back: settings live in a copied context, the program's own modules are forgotten, folder and streams restored.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import os
import pickle
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TextIO

import pulumi
from pulumi.runtime import Settings, configure, run_in_stack, set_all_config
from pulumi.runtime.settings import SETTINGS, _get_rpc_manager, reset_options

from infra.engine.errors import EngineError
from infra.engine.program.monitor import ResourceMonitor

_THREADS_PER_OPERATION: Final = 4
"""Registrations wait in threads of their own; more of them than operations, as the language host has it."""


class ProgramError(EngineError):
    """The program failed: its own message where it is meant for the user, otherwise with the user's traceback."""


def run_program(*, root: Path, main: Path, monitor: ResourceMonitor, on_output: Callable[[str], None]) -> None:
    """Run ``main/__main__.py`` to its end, which includes all its registrations; raises ProgramError.

    `main` may be a folder or a file. `on_output` gets each line that the program prints.
    """
    file = main / "__main__.py" if main.is_dir() else main
    if not file.is_file():
        raise ProgramError(f"there is no program: {file} does not exist")
    with program_environment(main, on_output):
        # The SDK keeps its settings in context variables; a copy keeps them from what runs next in this thread.
        contextvars.copy_context().run(_run, root=root, file=file, monitor=monitor)


def _run(*, root: Path, file: Path, monitor: ResourceMonitor) -> None:
    target = monitor.target
    reset_options()
    set_all_config(dict(target.config), sorted(target.secret_keys))
    configure(
        Settings(
            project=target.project,
            stack=target.stack,
            monitor=monitor,
            engine=monitor.log,
            parallel=target.parallel,
            dry_run=target.dry_run,
            organization="organization",
            root_directory=str(root),
        )
    )
    loop = asyncio.new_event_loop()
    # A failed graph leaves futures that nobody reads. asyncio would report each of them, some long after the run.
    loop.set_exception_handler(lambda _loop, _context: None)
    executor = ThreadPoolExecutor(target.parallel * _THREADS_PER_OPERATION, thread_name_prefix="monitor")
    loop.set_default_executor(executor)
    try:
        loop.run_until_complete(run_in_stack(lambda: _execute_and_settle(file)))
    except BaseException as error:
        monitor.abandon()
        if monitor.errors or isinstance(error, KeyboardInterrupt):
            # The monitor's own error is what matters, and it is reported from there.
            if isinstance(error, KeyboardInterrupt):
                raise
            return
        raise _program_error(error, file) from None
    finally:
        _settle(loop)
        executor.shutdown(wait=True)
        loop.close()


async def _execute_and_settle(file: Path) -> None:
    """Run the file, and wait for what it has begun.

    The SDK waits too, but looks at all that is outstanding after each single task: with some hundred resources that
    takes longer than the work. A failure is left to it to report.
    """
    _execute(file)
    while outstanding := _outstanding():
        done, _ = await asyncio.wait(outstanding, return_when=asyncio.FIRST_EXCEPTION)
        if any(task.cancelled() or task.exception() for task in done):
            return


def _outstanding() -> set[asyncio.Task[Any]]:
    """Registrations and outputs that are not there yet."""
    with SETTINGS.lock:
        begun = [*_get_rpc_manager().rpcs, *SETTINGS.outputs]
    return {task for task in begun if not task.done()}


def _execute(file: Path) -> None:
    """Run the file as ``__main__``.

    Not `runpy`: given a folder it puts that first on the path, where a stack's docker.py hides the package docker.
    The file's name is the one that the language host gives it, because it is part of what dynamic providers pickle.
    """
    name = str(file)
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=name, __cached__=None, __package__="")
    before = sys.modules.get("__main__")
    sys.modules["__main__"] = module
    try:
        exec(compile(file.read_bytes(), name, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    finally:
        if before is not None:
            sys.modules["__main__"] = before


def _settle(loop: asyncio.AbstractEventLoop) -> None:
    """End what a failed program has left waiting, so that nothing complains about it later."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())


def _program_error(error: BaseException, file: Path) -> ProgramError:
    if isinstance(error, SystemExit):
        return ProgramError(error.code if isinstance(error.code, str) else f"the program exited with code {error.code}")
    if getattr(error, "user_facing", False) or isinstance(error, pulumi.RunError):
        return ProgramError(str(error))
    return ProgramError(f"the program failed:\n{_user_traceback(error, file)}")


def _user_traceback(error: BaseException, file: Path) -> str:
    """The traceback from the program's first line on: what lies before it is the engine."""
    frames = traceback.extract_tb(error.__traceback__)
    start = next((i for i, frame in enumerate(frames) if frame.filename == str(file)), 0)
    lines = traceback.format_list(frames[start:]) + traceback.format_exception_only(error)
    return "".join(lines).rstrip()


@contextlib.contextmanager
def program_environment(main: Path, on_output: Callable[[str], None]) -> Iterator[None]:
    """The folder, path, arguments and streams that the program and its dynamic providers expect."""
    folder = str(main if main.is_dir() else main.parent)
    cwd, argv, path, modules = Path.cwd(), sys.argv, list(sys.path), set(sys.modules)
    lines = _Lines(on_output, sys.stdout)
    if Path(folder).is_dir():
        os.chdir(folder)
    sys.argv = [str(main)]
    # Last, so that modules beside the program can be imported and hide no installed package.
    sys.path.append(folder)
    try:
        with contextlib.redirect_stdout(lines), contextlib.redirect_stderr(lines), _pickling():
            yield
    finally:
        lines.close()
        os.chdir(cwd)
        sys.argv, sys.path[:] = argv, path
        _forget_modules(set(sys.modules) - modules, folder)


@contextlib.contextmanager
def _pickling() -> Iterator[None]:
    """Undo what the SDK's dynamic resources do to `pickle`.

    For each of them it wraps a method of the Python pickler in one that sorts, and never takes the wrap off again.
    After some hundred resources in one process (a few dozen runs) pickling ends in a RecursionError.
    """
    pickler: Any = pickle._Pickler
    before = {name: pickler.__dict__[name] for name in ("_batch_setitems", "save_dict")}
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(pickler, name, method)


def _forget_modules(names: set[str], folder: str) -> None:
    """A second run must run the program's modules again: they may register resources while they are imported."""
    for name in names:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin and origin.startswith(folder + os.sep) and "site-packages" not in origin:
            del sys.modules[name]


class _Lines(io.TextIOBase):
    """A text stream that hands on whole lines, from any thread.

    What `on_line` itself prints goes to `beneath`: a display that writes to standard output must not feed itself.
    """

    def __init__(self, on_line: Callable[[str], None], beneath: TextIO) -> None:
        self._on_line = on_line
        self._beneath = beneath
        self._rest = ""
        self._lock = threading.Lock()
        self._local = threading.local()

    encoding = "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if getattr(self._local, "busy", False):
            return self._beneath.write(text)
        with self._lock:
            *whole, self._rest = (self._rest + text).split("\n")
        for line in whole:
            self._hand_on(line)
        return len(text)

    def close(self) -> None:
        rest, self._rest = self._rest, ""
        if rest:
            self._hand_on(rest)
        super().close()

    def _hand_on(self, line: str) -> None:
        self._local.busy = True
        try:
            self._on_line(line)
        finally:
            self._local.busy = False
