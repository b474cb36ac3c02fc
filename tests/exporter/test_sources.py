"""Opening a real node's driver: what it is, why it is none, and one that hangs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.nvml import Nvml, NvmlMissing
from exporter.sources import NothingToRead, opened
from tests.nvml import fake as driver
from tests.nvml.fake import FakeNvml
from tests.programs import wait_for

INIT = "nvmlInitWithFlags"


@pytest.fixture
def fake(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeNvml]:
    driver.load(tmp_path_factory.mktemp("driver"))
    with FakeNvml(tmp_path / "state") as fake:
        monkeypatch.setenv("FAKE_NVML_STATE", str(fake.path))
        yield fake


def test_what_opens_is_open(fake: FakeNvml) -> None:
    """Also one that takes its time."""
    card = fake.add_gpu()
    fake.force(INIT, delay_ms=300, times=1)
    nvml = opened(Nvml, within_s=5)
    assert [gpu.uuid for gpu in nvml.read().gpus] == [card.uuid]
    nvml.close()


def test_why_it_does_not_open_is_said(fake: FakeNvml) -> None:
    fake.set(init_code=driver.DRIVER_NOT_LOADED)
    with pytest.raises(NvmlMissing, match="kernel driver is not loaded"):
        opened(Nvml, within_s=5)


def test_a_driver_that_hangs_is_named_in_time(fake: FakeNvml) -> None:
    held: list[Nvml] = []
    fake.force(INIT, delay_ms=60_000, times=1)
    with pytest.raises(NothingToRead, match=r"hangs: it has not opened within 0\.2 s"):
        opened(lambda: held.append(Nvml()), within_s=0.2)
    assert held == []
    fake.relent()
    wait_for("it has opened after all", lambda: bool(held))
    held[0].close()
