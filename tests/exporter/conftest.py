"""The fake driver, loaded once for a test run, and a node without cards to begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nvml import fake as driver
from tests.nvml.fake import FakeNvml


@pytest.fixture(scope="session")
def library_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the library is built."""
    return tmp_path_factory.mktemp("library")


@pytest.fixture
def fake(library_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    """A node without cards; a test adds its own."""
    driver.load(library_dir)
    with FakeNvml(tmp_path / "state") as fake:
        monkeypatch.setenv("FAKE_NVML_STATE", str(fake.path))
        yield fake
