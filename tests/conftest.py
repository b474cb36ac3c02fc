"""What all tests share: Ctrl-C means something to them; in CI a skip is a failure, for it may hide a hole; and no
property fails because the machine is busy."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

IN_CI = bool(os.environ.get("NO_SKIPS"))

# An example has 200 ms, and drawing ten of them a second, unless told otherwise: that tells of the machine. And CI
# has the same examples each time, for it tells of a change; `make test` draws new ones.
settings.register_profile("tests", deadline=None, derandomize=IN_CI, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_configure() -> None:
    # A shell has what it starts in the background ignore Ctrl-C, and so would every program that a test starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped and IN_CI:
        terminalreporter.write_line(f"NO_SKIPS is set and {len(skipped)} tests were skipped", red=True)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if IN_CI and reporter is not None and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
