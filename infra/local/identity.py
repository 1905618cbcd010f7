"""As whom a server runs. Postgres refuses to run as root, and containers are often root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.local.errors import LocalError


@dataclass(frozen=True)
class Identity:
    """A command `prefix` that switches the user, or where there is no such command the `user` to switch to; both empty
    for an ordinary user. (A switch by `user` forks this whole process, with the engine's connections in it.)"""

    owner: tuple[int, int] | None = None
    """uid and gid that own the server's files, when they are not this process's own."""
    user: tuple[int, int] | None = None
    prefix: tuple[str, ...] = ()

    def run(self, command: Sequence[str], *, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command to its end under this identity, its errors in its output."""
        return subprocess.run(
            [*self.prefix, *command],
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            start_new_session=True,  # Ctrl-C lets what is under way finish
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            user=self.user[0] if self.user else None,
            group=self.user[1] if self.user else None,
            extra_groups=[] if self.user else None,
        )


def for_server(binary: Path, directory: Path) -> Identity:
    """The identity for a server that must not be root; `directory` is where its data lies.

    As root that is the owner of the directory's project, else ``nobody``. Where that user cannot reach binary and data
    (a project below ``/root``), it is given the capability to pass folders, by ``setpriv``; the files stay its own.
    """
    if os.geteuid() != 0:
        if not _has_name(os.geteuid()):
            raise LocalError(
                f"Postgres does not run as user id {os.geteuid()}, which has no name on this machine (no line in "
                "/etc/passwd). In a container run as root or as a user that the image knows, or use a Postgres of your "
                "own: slipway config set postgres.provider external"
            )
        return Identity()
    owner = _ordinary_user(directory)
    for candidate in _candidates(owner):
        if _works(candidate, binary, directory):
            return candidate
    raise LocalError(
        f"Postgres does not run as root, and user {owner[0]} can reach neither {binary} nor {directory}. "
        "Ways out: run slipway as an ordinary user; or move the project out of the private folder; or install setpriv "
        "(package util-linux) and give the container CAP_DAC_OVERRIDE; or use a Postgres of your own: "
        "slipway config set postgres.provider external"
    )


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _ordinary_user(directory: Path) -> tuple[int, int]:
    existing = next(folder for folder in (directory, *directory.parents) if folder.exists())
    for folder in (existing, *existing.parents):
        found = folder.stat()
        if found.st_uid != 0 and folder != Path(folder.anchor) and _has_name(found.st_uid):
            return found.st_uid, found.st_gid
        if (folder / "Pulumi.yaml").exists():
            break
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return 65534, 65534
    return nobody.pw_uid, nobody.pw_gid


def _candidates(owner: tuple[int, int]) -> Iterator[Identity]:
    """Ways to become that user, the least powerful first."""
    setpriv = shutil.which("setpriv")
    if not setpriv:
        yield Identity(owner=owner, user=owner)
        return
    uid, gid = owner
    switch = (setpriv, f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
    for grant in ((), *_grants()):
        for death in (("--pdeathsig", "INT"), ()):  # util-linux before 2.37 has no --pdeathsig
            yield Identity(owner=owner, prefix=(*switch, *grant, *death, "--"))


def _grants() -> Iterator[tuple[str, ...]]:
    """Options of setpriv that let a user pass folders, which is all that can be missing.

    access(2) leaves out the capabilities of anybody but root, and Postgres looks for its own programs with it: below
    ``/root`` initdb called itself an invalid binary. The secure bit stops that; a container may lack what it takes.
    Docker's default set holds only the wider capability.
    """
    for capability in ("dac_read_search", "dac_override"):
        grant = (f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}")
        yield (*grant, "--securebits=+no_setuid_fixup")
        yield grant


def _works(identity: Identity, binary: Path, directory: Path) -> bool:
    """Whether the server's programs find each other and its data. `--show` makes nothing, and looks as initdb does."""
    show = [str(binary.with_name("initdb")), "--show", "--pgdata", str(directory)]
    try:
        runs = identity.run(show).returncode == 0
        return runs and identity.run(["ls", "-d", f"{directory}/."]).returncode == 0
    except OSError:
        return False
