"""A PostgreSQL as people run it, which syncs what it commits, and the figures that `make bench-ledger` prints."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import Postgres, find_binaries, start_postgres

# As docs/storage.md advises.
OPTIONS = (
    "shared_buffers=1GB",
    "max_wal_size=8GB",
    "wal_compression=on",
    "checkpoint_completion_target=0.9",
    "work_mem=32MB",
    "jit=off",
    "max_connections=60",
)

_figures: list[str] = []


@pytest.fixture
def figures() -> list[str]:
    """Lines to print at the end."""
    return _figures


@pytest.fixture(scope="module")
def durable() -> Iterator[Postgres]:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no `initdb` and `postgres` here: they come with Debian's package `postgresql`")
    with start_postgres(binaries, OPTIONS) as server:
        yield server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _figures:
        terminalreporter.section("ledger")
        for line in _figures:
            terminalreporter.write_line(line)
