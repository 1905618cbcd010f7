"""What the image must be for the stacks that run it. That it builds, only Docker can tell."""

from __future__ import annotations

import re
from pathlib import Path

from infra.aws.from_settings.data import SOURCES
from infra.aws.postgres_logins import CA_BUNDLE
from infra.aws.task_definition import USER
from infra.settings import tables
from infra.workload import COMMAND, HEALTH_COMMAND

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile, without comments, each in one line."""
    text = re.sub(r"(?m)^#.*\n", "", (ROOT / "app" / "Dockerfile").read_text()).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def last(name: str) -> str:
    return [text for instruction, text in instructions() if instruction == name][-1]


def test_it_runs_as_the_user_that_tasks_name() -> None:
    assert last("USER") == USER
    after = [name for name, _ in instructions()]
    assert "RUN" not in after[len(after) - after[::-1].index("USER") :]


def test_a_task_can_write_to_its_volume() -> None:
    """ECS takes the owner and mode of a volume's folder from the image, where that declares it a volume."""
    assert last("VOLUME") == "/tmp"


def test_it_holds_the_certificates_that_database_urls_name() -> None:
    bundle = next(text.split() for name, text in instructions() if name == "COPY" and text.endswith(CA_BUNDLE))
    assert bundle[0] == "--from=authorities"
    assert last("ADD") == f"${{RDS_CA_BUNDLE}} {bundle[1]}"
    # Without arguments it is the one that AWS publishes; behind a mirror, an argument says where it is.
    arguments = dict(text.partition("=")[::2] for name, text in instructions() if name == "ARG")
    assert arguments["RDS_CA_BUNDLE"] == "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"
    assert arguments["RDS_CA_BUNDLE_SHA256"] == ""


def test_its_pg_dump_reads_every_server_that_the_settings_allow() -> None:
    arguments = dict(text.partition("=")[::2] for name, text in instructions() if name == "ARG")
    major = int(arguments["POSTGRES"].removeprefix("postgres:").partition("-")[0])
    assert major >= max(
        version for versions in tables.POSTGRES_VERSIONS.values() for version in versions if version < 99
    )


def test_the_base_and_the_tools_are_of_one_release_of_debian() -> None:
    arguments = dict(text.partition("=")[::2] for name, text in instructions() if name == "ARG")
    assert arguments["BASE"].rpartition("-")[2] == arguments["POSTGRES"].rpartition("-")[2]


def test_its_last_stage_holds_nothing_of_a_base_that_was_taken_out() -> None:
    """A file that a later layer deletes is still in the image, and in what scanners find."""
    stages = [text for name, text in instructions() if name == "FROM"]
    assert stages[-1] == "application"
    assert "scratch AS application" in stages


def test_it_stops_as_a_service_does() -> None:
    assert last("STOPSIGNAL") == "SIGTERM"


def test_any_builder_of_docker_can_build_it() -> None:
    """A `syntax` line fetches the builder's front end from Docker Hub, which a build behind a mirror cannot reach."""
    assert "# syntax=" not in (ROOT / "app" / "Dockerfile").read_text()
    only_buildkit = re.compile(r"(--\S+\s+)*(--(chmod|checksum|exclude|link|mount|parents)\b|<<)")
    assert not [text for name, text in instructions() if name in ("ADD", "COPY", "RUN") and only_buildkit.match(text)]


def test_its_commands_are_the_workloads() -> None:
    as_json = {tuple(re.findall(r'"([^"]+)"', last(name))) for name in ("CMD", "HEALTHCHECK")}
    assert as_json == {COMMAND, HEALTH_COMMAND}


def test_it_installs_its_locks_and_nothing_else() -> None:
    """The application's, and that of the tool for the inventory, in an environment that is not in the image."""
    installs = [text for name, text in instructions() if name == "RUN" and "pip install" in text]
    assert len(installs) == 2
    for install in installs:
        assert all(flag in install for flag in ("--require-hashes", "--no-deps", "--only-binary=:all:"))
    kept = [text.split() for name, text in instructions() if name == "COPY" and "--from=inventory" in text]
    assert {source for _, source, _ in kept} == {"/sbom.cdx.json"}


def test_builds_see_the_application_and_its_locks_only() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    sources = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert sources == {"app", "requirements/app.txt", "requirements/sbom.txt"}
    copied = {text.split()[0] for name, text in instructions() if name == "COPY" and "--from" not in text}
    assert copied == sources | {"app/image/slim.py", "app/image/sbom.py"}
    assert sources | {".dockerignore"} == set(SOURCES)
