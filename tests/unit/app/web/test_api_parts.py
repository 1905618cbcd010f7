"""Cursors, sockets, the OpenAPI document, logs, revisions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from app import composition
from app.migrations import revisions, runner
from app.settings import Settings
from app.web import paging
from app.web.openapi import document
from app.web.sockets import SocketError, listening


def test_a_cursor_keeps_microseconds() -> None:
    place = (datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC), uuid.uuid4())
    assert paging.decode_cursor(paging.encode_cursor(*place)) == place


@pytest.mark.parametrize("text", ["", "abc", "é", "AAAA", "f" * 32, "f" * 200])
def test_other_texts_are_no_cursors(text: str) -> None:
    with pytest.raises(ValueError):
        paging.decode_cursor(text)


def test_binding_a_free_port_and_a_busy_one() -> None:
    (bound,) = listening(host="127.0.0.1", port=0, environ={}, pid=1)
    with bound, pytest.raises(SocketError, match="is in use"):
        listening(host="127.0.0.1", port=bound.getsockname()[1], environ={}, pid=1)


@pytest.mark.parametrize(
    ("host", "message"), [("192.0.2.1", "no address of this machine"), ("no such host", "no address of this machine")]
)
def test_hosts_that_are_not_ours(host: str, message: str) -> None:
    with pytest.raises(SocketError, match=message):
        listening(host=host, port=0, environ={}, pid=1)


def test_sockets_meant_for_another_process_are_left_alone() -> None:
    (bound,) = listening(host="127.0.0.1", port=0, environ={"LISTEN_FDS": "1", "LISTEN_PID": "1"}, pid=2)
    bound.close()


def test_listen_fds_must_be_a_number() -> None:
    with pytest.raises(SocketError, match="LISTEN_FDS=x"):
        listening(host="127.0.0.1", port=0, environ={"LISTEN_FDS": "x"}, pid=2)


def test_the_known_revisions_are_the_scripts() -> None:
    config = Config()
    config.set_main_option("script_location", os.path.dirname(runner.__file__))  # noqa: PTH120
    config.set_main_option("path_separator", "os")
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    assert tuple(script.revision for script in reversed(scripts)) == revisions.KNOWN


def test_the_openapi_document_is_closed(production: dict[str, str]) -> None:
    all_operations = composition.operations()
    text = json.dumps(document(Settings.load(production), all_operations))
    found = json.loads(text)
    operations = {(method.upper(), path) for path, methods in found["paths"].items() for method in methods}
    assert operations == {(o.method, o.path) for o in all_operations} | {("GET", "/health")}
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(found["components"]["schemas"])
    assert len({o.name for o in all_operations}) == len(all_operations)


LOGGING = """
import logging, sys
from app.observability import logging as ours
from app.observability.correlation import bound
from app.settings import Settings
ours.configure(Settings.load({"MODE": "migrate", "ENVIRONMENT": "test", "DATABASE_URL": "postgresql:///x",
                              "LOG_LEVEL": sys.argv[1], "LOG_FORMAT": sys.argv[2], "SERVICE_NAME": "shop"}))
with bound("c-1"):
    ours.get_logger().info("ours", count=1)
    logging.getLogger("theirs").warning("from %s", "a library", extra={"key": "value"})
    ours.get_logger().debug("fine")
    try:
        1 / 0
    except ZeroDivisionError:
        ours.get_logger().exception("broken")
"""


def log_lines(level: str, form: str) -> list[str]:
    command = [sys.executable, "-c", LOGGING, level, form]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()


def test_json_logs() -> None:
    ours, theirs, broken = (json.loads(line) for line in log_lines("info", "json"))
    assert (ours["event"], ours["count"], ours["level"]) == ("ours", 1, "info")
    assert (theirs["event"], theirs["logger"], theirs["key"]) == ("from a library", "theirs", "value")
    assert "ZeroDivisionError" in broken["exception"]
    assert {line["correlation_id"] for line in (ours, theirs, broken)} == {"c-1"}
    assert ours["service"] == "shop"


def test_log_level_and_text() -> None:
    assert [json.loads(line)["event"] for line in log_lines("debug", "json")] == [
        *("ours", "from a library", "fine", "broken"),
    ]
    text = "\n".join(log_lines("info", "text"))
    assert "ours" in text
    assert "\x1b" not in text


def test_too_many_inherited_sockets() -> None:
    with pytest.raises(SocketError, match="LISTEN_FDS"):
        listening(host="127.0.0.1", port=0, environ={"LISTEN_FDS": "65"}, pid=1)
