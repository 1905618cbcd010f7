"""Follows docs/make-it-yours.md in a copy of the tree: its blocks are what a reader would type.

A block belongs to the file that the line before it names in its last code span, with a colon at its end: a `diff` is
an edit of that file, any other language a new file. A `console` block is commands after `$ `, and what they answer.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "make-it-yours.md"
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[a-z]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([^`\s]+)`[^`\n]*:$")


@dataclass(frozen=True, kw_only=True)
class Block:
    language: str
    text: str
    file: str | None


@dataclass(frozen=True, kw_only=True)
class Section:
    title: str
    text: str

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(self._blocks())

    def _blocks(self) -> Iterator[Block]:
        for found in _FENCE.finditer(self.text):
            before = self.text[: found.start()].rstrip().rpartition("\n")[2]
            named = _FILE.search(before)
            language, indent = found["language"], found["indent"]
            text = "".join(line.removeprefix(indent) for line in found["text"].splitlines(keepends=True))
            if language not in ("console", "json", "text"):
                assert named, f"{self.title}: no line before this block names its file:\n{text}"
            yield Block(language=language, text=text, file=named[1] if named and language != "console" else None)


def sections(page: str | None = None) -> Mapping[str, Section]:
    """The page's parts, by their titles, in their order."""
    parts = re.split(r"^##+ (.*)$", PAGE.read_text() if page is None else page, flags=re.MULTILINE)
    return {title: Section(title=title, text=text) for title, text in zip(parts[1::2], parts[2::2], strict=True)}


class Copy:
    """The tree as it would be committed, in a folder of its own, with this checkout's environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder = folder.resolve()
        for name in self._git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0"):
            if name and ((ROOT / name).exists() or (ROOT / name).is_symlink()):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
        self._git("init", "--quiet")
        self._commit()
        self._lend_environment()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])

    @property
    def environment(self) -> dict[str, str]:
        """The copy's code goes before that of the checkout, which the environment has installed."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PULUMI_", "SLIPWAY_", "PYTEST_", "COV_"))}
        path = f"{self.folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        # Whatever `make` thinks of the environment: it is the checkout's, and nothing may be installed into it.
        own = {"PYTHONPATH": str(self.folder), "SLIPWAY_ENGINE": "inprocess", "CI": "1", "PIP_DRY_RUN": "1"}
        return {**kept, "PATH": path, **own}

    def follow(self, section: Section) -> None:
        """Do what the section says, from its first block to its last."""
        for block in section.blocks:
            if block.language == "console":
                self.type(block)
            elif block.file and block.language == "diff":
                self.edit(block.file, block.text)
            elif block.file:
                path = self.folder / block.file
                assert not path.exists(), f"{section.title}: {block.file} is there already"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)

    def type(self, block: Block) -> str:
        """Run a block's commands in one shell, which ends at the first that fails; what they wrote."""
        commands = re.findall(r"^\$ ((?:.*\\\n)*.*)$", block.text, re.MULTILINE)
        return self.run("\n".join(commands).replace("127.0.0.1:3000", f"127.0.0.1:{self.port}"))

    def run(self, script: str, *, timeout: float = 600) -> str:
        (self.folder / ".venv" / ".installed").touch()
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}"
        return done.stdout

    def edit(self, name: str, diff: str) -> None:
        """Take the lines of the diff that stand together for a place in the file, which must be the only one."""
        path = self.folder / name
        assert path.exists(), f"there is no {name} to edit"
        before = "".join(f"{line[1:]}\n" for line in diff.splitlines() if line[:1] != "+")
        after = "".join(f"{line[1:]}\n" for line in diff.splitlines() if line[:1] != "-")
        text = path.read_text()
        assert text.count(before) == 1, f"{name} has {text.count(before)} places with:\n{before}"
        path.write_text(text.replace(before, after))

    def changed(self) -> set[str]:
        """The files that are not as they were committed."""
        return set(filter(None, self._git("ls-files", "-z", "-m", "-o", "--exclude-standard").split("\0")))

    def commit(self) -> None:
        self._commit()

    def _commit(self) -> None:
        self._git("add", "--all")
        who = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
        self._git(*who, "commit", "--quiet", "--no-verify", "--allow-empty", "--message", "as it was")

    def _git(self, *words: str, cwd: Path | None = None) -> str:
        done = subprocess.run(["git", *words], cwd=cwd or self.folder, capture_output=True, text=True, check=True)
        return done.stdout

    def _lend_environment(self) -> None:
        """A `.venv` that `make` takes for its own, with the programs and packages of the one at hand."""
        here, own = Path(sys.prefix), self.folder / ".venv"
        own.mkdir()
        for name in ("lib", "lib64", "include", "pyvenv.cfg"):
            if (here / name).exists():
                (own / name).symlink_to(here / name)
        (own / "bin").mkdir()
        for program in (here / "bin").iterdir():
            (own / "bin" / program.name).symlink_to(program)
        # The installed command finds the checkout's code first wherever nobody sets PYTHONPATH for it.
        (own / "bin" / "slipway").unlink(missing_ok=True)
        python = shlex.quote(str(own / "bin" / "python"))
        (own / "bin" / "slipway").write_text(f'#!/bin/sh\nexec {python} -m infra.cli "$@"\n')
        (own / "bin" / "slipway").chmod(0o755)
        (own / ".installed").write_text(f"{self.folder}\n")
