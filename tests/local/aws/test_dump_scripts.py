"""The dump task's shell on a real Postgres and an S3 server, container by container, up to a restored database."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import psycopg
import pytest

from infra.aws import dump_scripts as scripts
from infra.aws import queue_metrics
from infra.contracts import TaskSpec
from infra.local import binaries
from infra.settings.loading import parse
from infra.workload import Workload

BUCKET, PREFIX = "dumps", "slipway/prod"
SHELLS = [shell for shell in (["dash"], ["bash"], ["busybox", "sh"]) if shutil.which(shell[0])]
"""The images' shells: Alpine's BusyBox, Amazon Linux's bash, Debian's dash; those that are here."""

AWS_CLI = """\
#!{python}
\"\"\"Stands in for the AWS CLI where that is not installed: `aws s3 cp FILE s3://BUCKET/KEY --only-show-errors`.\"\"\"
import os, sys, boto3
assert sys.argv[1:3] == ["s3", "cp"] and sys.argv[5:] == ["--only-show-errors"], sys.argv
bucket, _, key = sys.argv[4].removeprefix("s3://").partition("/")
try:
    boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).upload_file(sys.argv[3], bucket, key)
except Exception as error:
    sys.exit(f"upload failed: {{error}}")
"""


class Store(BaseHTTPRequestHandler):
    """As much of S3 as an upload needs: objects of one bucket, in `objects`."""

    objects: ClassVar[dict[str, bytes]] = {}

    def do_PUT(self) -> None:
        bucket, _, key = self.path.partition("?")[0].lstrip("/").partition("/")
        body = self._body()
        if bucket != BUCKET:
            error = b"<Error><Code>NoSuchBucket</Code><Message>There is no such bucket</Message></Error>"
            self._answer(404, error)
            return
        self.objects[key] = body
        self._answer(200)

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return body
        whole = b""
        while body:
            size, _, rest = body.partition(b"\r\n")
            length = int(size.partition(b";")[0], 16)
            if not length:
                break
            whole, body = whole + rest[:length], rest[length + 2 :]
        return whole

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("ETag", '"0"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: the tests' output is enough."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Address of an S3 server that takes every credential."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def store() -> dict[str, bytes]:
    """The objects of the bucket, none at the start."""
    Store.objects.clear()
    return Store.objects


@pytest.fixture(params=["real", "stand-in"])
def aws_cli(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder for PATH in which `aws` is."""
    if request.param == "real":
        found = shutil.which("aws")
        if found is None or subprocess.run([found, "--version"], capture_output=True, check=False).returncode:
            pytest.skip("the AWS CLI is not installed")
        return str(Path(found).parent)
    folder = tmp_path / "cli"
    folder.mkdir()
    (folder / "aws").write_text(AWS_CLI.format(python=sys.executable))
    (folder / "aws").chmod(0o755)
    return str(folder)


@pytest.fixture
def spec() -> TaskSpec:
    """The dump as the workload describes it."""
    return Workload.of(parse({"target": "local"}, stack="test")).backup


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, endpoint: str) -> Run:
    """Run one container's words with the task's volume, and nothing of this process's environment but the paths."""
    volume = tmp_path / "volume"
    volume.mkdir(exist_ok=True)

    def container(words: list[str], *, path: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        common = {"DUMP_FOLDER": str(volume), "DUMP_TIMEOUT": "60", "HOME": str(tmp_path)}
        tools = f"{path}:{binaries.postgres('pg_dump').parent}:/usr/bin:/bin"
        aws = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "eu-central-1"}
        aws |= {"AWS_DEFAULT_REGION": "eu-central-1", "AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true"}
        env = {**common, **aws, "PATH": tools, "AWS_ENDPOINT_URL": endpoint, **environment}
        return subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    return container


def libpq(url: str) -> dict[str, str]:
    """The variables of a URL of the tests' server, which listens on a socket."""
    parts = psycopg.conninfo.conninfo_to_dict(url)
    return {
        "PGHOST": str(parts["host"]),
        "PGUSER": "postgres",
        "PGDATABASE": str(parts["dbname"]),
        "PGSSLMODE": "disable",
    }


def dump_words(shell: list[str], spec: TaskSpec) -> list[str]:
    return [*shell, "-c", scripts.DUMP, "dump", *spec.command]


UPLOAD_VARIABLES = {"DUMP_BUCKET": BUCKET, "DUMP_PREFIX": PREFIX, "DUMP_STACK": "prod"}


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_dump_reaches_the_bucket_and_can_be_restored(
    shell: list[str],
    migrated_url: str,
    database_url: str,
    run: Run,
    store: dict[str, bytes],
    spec: TaskSpec,
    tmp_path: Path,
    aws_cli: str,
) -> None:
    with psycopg.connect(migrated_url) as source:
        source.execute("INSERT INTO users (id, email, password_hash) VALUES (gen_random_uuid(), 'a@example.org', 'x')")

    dumped = run(dump_words(shell, spec), **libpq(migrated_url))
    assert dumped.returncode == 0, dumped.stderr
    line = json.loads(dumped.stdout)
    assert line["bytes"] > 1000
    assert line["entries"] > 10

    stored = run([*shell, "-c", scripts.UPLOAD], path=aws_cli, **UPLOAD_VARIABLES)
    assert stored.returncode == 0, stored.stderr
    ((key, content),) = store.items()
    assert re.fullmatch(PREFIX + r"/20\d\d/\d\d/\d\d/\d{6}Z\.dump", key)
    assert len(content) == line["bytes"]

    (tmp_path / "again").write_bytes(content)
    restored = subprocess.run(
        [str(binaries.postgres("pg_restore")), "--exit-on-error", "--dbname", database_url, str(tmp_path / "again")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert restored.returncode == 0, restored.stderr
    with psycopg.connect(database_url) as copy:
        assert copy.execute("SELECT email FROM users").fetchall() == [("a@example.org",)]


def test_the_last_line_is_the_metric_in_cloudwatchs_form(
    migrated_url: str, run: Run, store: dict[str, bytes], spec: TaskSpec, tmp_path: Path, aws_cli: str
) -> None:
    run(dump_words(SHELLS[0], spec), **libpq(migrated_url))
    line = json.loads(run([*SHELLS[0], "-c", scripts.UPLOAD], path=aws_cli, **UPLOAD_VARIABLES).stdout)

    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == queue_metrics.NAMESPACE
    assert directive["Dimensions"] == [["Stack"]]
    names = [metric["Name"] for metric in directive["Metrics"]]
    assert names == [scripts.STORED, "DumpBytes"]
    assert all(isinstance(line[name], int) for name in names)
    assert (line["Stack"], line[scripts.STORED]) == ("prod", 1)
    assert line["_aws"]["Timestamp"] > 1_700_000_000_000


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_dump_that_fails_leaves_nothing_to_upload(
    shell: list[str], migrated_url: str, run: Run, spec: TaskSpec, tmp_path: Path
) -> None:
    failed = run(dump_words(shell, spec), **{**libpq(migrated_url), "PGDATABASE": "nowhere"})
    assert failed.returncode != 0
    assert 'database "nowhere" does not exist' in failed.stderr
    assert not (tmp_path / "volume" / "archive").exists()


def test_a_dump_that_takes_too_long_is_ended(migrated_url: str, run: Run, spec: TaskSpec, tmp_path: Path) -> None:
    with psycopg.connect(migrated_url) as other:
        other.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        ended = run(dump_words(SHELLS[0], spec), **libpq(migrated_url), DUMP_TIMEOUT="1")
    assert ended.returncode == 124
    assert not (tmp_path / "volume" / "archive").exists()


def test_an_upload_that_fails_reports_nothing(run: Run, store: dict[str, bytes], tmp_path: Path, aws_cli: str) -> None:
    (tmp_path / "volume" / "archive").write_bytes(b"x")
    wrong = {**UPLOAD_VARIABLES, "DUMP_BUCKET": "another-bucket"}
    failed = run([*SHELLS[0], "-c", scripts.UPLOAD], path=aws_cli, **wrong)
    assert failed.returncode != 0
    assert scripts.STORED not in failed.stdout


def test_an_upload_without_a_dump_reports_nothing(run: Run, store: dict[str, bytes], aws_cli: str) -> None:
    failed = run([*SHELLS[0], "-c", scripts.UPLOAD], path=aws_cli, **UPLOAD_VARIABLES)
    assert failed.returncode != 0
    assert failed.stdout == ""
    assert not store


def test_the_authorities_travel_on_the_volume(run: Run, migrated_url: str, spec: TaskSpec, tmp_path: Path) -> None:
    """The database's certificate is checked against a file that only the application image has."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("not a certificate")
    copied = run([sys.executable, "-c", scripts.CERTIFICATES], PGSSLROOTCERT=str(bundle))
    assert copied.returncode == 0, copied.stderr
    assert (tmp_path / "volume" / "authorities.pem").read_text() == "not a certificate"
    # Whoever the other containers are, they may add files there, and nobody may take another's away.
    assert stat.S_IMODE((tmp_path / "volume").stat().st_mode) == 0o1777
    assert stat.S_IMODE((tmp_path / "volume" / "authorities.pem").stat().st_mode) & 0o444 == 0o444

    bundle.unlink()
    # libpq reads the file at once when it speaks TLS; over the socket it does not, and the dump works.
    shown = [*SHELLS[0], "-c", scripts.DUMP.replace("timeout", "echo $PGSSLROOTCERT; timeout"), "dump", *spec.command]
    done = run(shown, **libpq(migrated_url), PGSSLROOTCERT=str(bundle))
    assert done.stdout.splitlines()[0] == str(tmp_path / "volume" / "authorities.pem")


@pytest.mark.parametrize("word", ["", "system"])
def test_other_words_for_authorities_are_left_alone(run: Run, tmp_path: Path, word: str) -> None:
    assert run([sys.executable, "-c", scripts.CERTIFICATES], PGSSLROOTCERT=word).returncode == 0
    assert not (tmp_path / "volume" / "authorities.pem").exists()
