"""The busy node, and the figures that `make bench` prints at its end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.busy_agent import BusyAgent
from tests.bench.busy_node import BusyNode
from tests.nvml import fake as driver
from tests.nvml.fake import FakeNvml

_figures: list[str] = []


@pytest.fixture
def figures() -> list[str]:
    """Lines to print at the end."""
    return _figures


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> BusyNode:
    return BusyNode(tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="module")
def fake(node: BusyNode) -> Iterator[FakeNvml]:
    with pytest.MonkeyPatch.context() as patch, node.running() as fake:
        patch.setenv("FAKE_NVML_STATE", str(node.state))
        driver.load(node.library.parent)
        yield fake


@pytest.fixture(scope="module")
def busy(node: BusyNode, fake: FakeNvml, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BusyAgent]:
    agent = BusyAgent(socket=node.socket, proc=node.proc, spool=tmp_path_factory.mktemp("spool") / "s")
    yield agent
    agent.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _figures:
        terminalreporter.section("footprint")
        for line in _figures:
            terminalreporter.write_line(line)
