"""What an H200 said of its health and events, and what an agent showed of it (data/h200_survey.json), and the fake.

fields     id, scope, return code, type of the value, value; as tests/gpu/survey.py asks for them
us_a_call  the first, the median, the longest
page       of an agent's 16th beat, one a second, what it says of the card, whose UUID is GPU-0 here
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest

from exporter.agent import Agent
from exporter.cgroups import CgroupReader
from exporter.clock import ReplayClock
from exporter.collectors.gpus import Gpus
from exporter.collectors.holdings import Holdings
from exporter.collectors.node import Collectors
from exporter.collectors.processes import Processes
from exporter.kubelet import Kubelet
from exporter.memory_spool import MemorySpool
from exporter.nvml import Nvml
from exporter.worker import DirectCalls
from tests.exporter.builders import NOON_MS
from tests.kubelet_server import PodResourcesServer
from tests.nvml import fake as driver
from tests.nvml.fake import FakeNvml

SURVEY: dict[str, Any] = json.loads((Path(__file__).with_name("data") / "h200_survey.json").read_text())
MIB = 1024 * 1024
UUID = "GPU-0"
# Time and energy go on while one looks.
COUNTED = ("gpu_observed_seconds_total", "gpu_idle_seconds_total", "gpu_energy_joules_total", "gpu_idle_energy_")


@pytest.fixture
def fake(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeNvml]:
    """A node with a card like that one."""
    driver.load(tmp_path_factory.mktemp("library"))
    there = samples("\n".join(SURVEY["page"]))
    with FakeNvml(tmp_path / "state", driver_version=SURVEY["machine"]["driver"]) as fake:
        total_mib = round(figure(there, "gpu_memory_total_bytes")) // MIB
        card = fake.add_gpu(model="NVIDIA H200", uuid=UUID, memory_mib=total_mib)
        card.set(temperature_celsius=round(figure(there, "gpu_temperature_celsius")))
        card.draw(figure(there, "gpu_power_watts"), energy_mj=5_700_000)
        card.set_health(
            power_limit_mw=round(figure(there, "gpu_power_limit_watts") * 1000),
            sm_mhz=round(figure(there, "gpu_sm_clock_hertz") / 1e6),
            memory_mhz=round(figure(there, "gpu_memory_clock_hertz") / 1e6),
        )
        monkeypatch.setenv("FAKE_NVML_STATE", str(fake.path))
        yield fake


@pytest.fixture
def card(fake: FakeNvml) -> Iterator[Any]:
    """The fake card, by its handle."""
    pynvml.nvmlInit()
    yield pynvml.nvmlDeviceGetHandleByIndex(0)
    pynvml.nvmlShutdown()


def samples(page: str) -> dict[str, float]:
    """A page's samples of the card by name and labels."""
    lines = [line.rsplit(" ", 1) for line in page.splitlines() if f'"{UUID}"' in line]
    return {name: float(value) for name, value in lines}


def figure(of: dict[str, float], family: str) -> float:
    (value,) = (value for name, value in of.items() if name.startswith(family + "{"))
    return value


@pytest.mark.parametrize("row", SURVEY["fields"], ids=lambda row: str(row[0]))
def test_a_field_of_the_fake_is_refused_or_answered_as_the_cards(card: Any, row: list[int]) -> None:
    """ECC, remaps, NVLink without a partner. Types aside: the fake has 4-byte ones too, this driver has not."""
    field, scope, code, _, value = row
    (answer,) = pynvml.nvmlDeviceGetFieldValues(card, [(field, scope)])
    assert answer.nvmlReturn == code
    if code == pynvml.NVML_SUCCESS:
        assert answer.value.uiVal == value


def test_the_fake_tells_xids_and_has_none_as_the_card(card: Any) -> None:
    assert SURVEY["event_types"] & pynvml.nvmlEventTypeXidCriticalError
    events = pynvml.nvmlEventSetCreate()
    pynvml.nvmlDeviceRegisterEvents(card, pynvml.nvmlEventTypeXidCriticalError, events)
    with pytest.raises(pynvml.NVMLError) as refused:
        pynvml.nvmlEventSetWait_v2(events, 0)
    pynvml.nvmlEventSetFree(events)
    assert refused.value.value == SURVEY["wait_without_events"]


async def test_the_agent_says_of_such_a_card_what_it_said_there(fake: FakeNvml, tmp_path: Path) -> None:
    """Every sample of the real page, with its value; a counter may have come further."""
    clock = ReplayClock(NOON_MS)
    (tmp_path / "proc").mkdir()
    with PodResourcesServer(tmp_path / "kubelet.sock") as kubelet:
        gpus = Gpus(Nvml(clock))
        collectors = Collectors(
            gpus,
            Holdings(Kubelet(kubelet.socket_path, timeout_s=5)),
            Processes(CgroupReader(tmp_path / "proc")),
            calls=lambda _: DirectCalls(), clock=clock, deadline_s=0,
        )  # fmt: skip
        keeper = MemorySpool(cluster="lab", node="n1", now_ms=NOON_MS)
        agent = Agent(collectors, keeper, clock=clock, beat_ms=1000, disk=DirectCalls(), pushing=True)
        for _ in range(3):
            await agent.beat()
            await clock.sleep(1)
        gpus.close()
    there, here = samples("\n".join(SURVEY["page"])), samples(agent.page.decode())
    assert len(there) > 25
    assert there.keys() - here.keys() == set()
    apart = {name for name in there if here[name] != there[name] and not name.startswith(COUNTED)}
    assert apart == set()
