"""What every test may rely on."""

from __future__ import annotations

import signal

import pytest

from app.features import FEATURES

# A shell that starts the tests in the background has them ignore Ctrl-C, and so do the processes that tests start:
# a test that sends one would wait for nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "feature(name): needs this feature of the application, which may have been deleted"
    )
    config.addinivalue_line(
        "markers",
        "flips(*names): shows a behaviour of the application that another value of these settings does not have",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("feature"):
            if mark.args[0] not in FEATURES:
                item.add_marker(pytest.mark.skip(reason=f"the application has no {mark.args[0]}"))
