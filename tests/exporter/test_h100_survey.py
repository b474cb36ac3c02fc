"""What else an H100 said (data/h100_survey.json, by tests/gpu/survey.py), beside what we and the fake believe."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest

from exporter.mig import profile_name
from exporter.nvml.process_tables import SmSample, sm_ratios
from exporter.reading import CgroupOwner
from tests.exporter.builders import POD_A, given, gpu, in_pod, kubelet, look, process
from tests.gpu.survey import said
from tests.nvml import fake as driver
from tests.nvml.fake import SHAPES, FakeNvml

SURVEY: dict[str, Any] = json.loads((Path(__file__).with_name("data") / "h100_survey.json").read_text())
STATIC = SURVEY["static"]
LISTS = ("ComputeRunningProcesses_v3", "GraphicsRunningProcesses_v3", "MPSComputeRunningProcesses_v3")
ASKED = ("Name", "MigMode", "MaxMigDeviceCount", "GpuInstanceId", "ComputeInstanceId", "Attributes_v2", *LISTS)


@pytest.fixture
def card(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A fake card that is not in MIG mode, by its handle."""
    driver.load(tmp_path_factory.mktemp("library"))
    with FakeNvml(tmp_path / "state") as fake:
        fake.add_gpu()
        monkeypatch.setenv("FAKE_NVML_STATE", str(fake.path))
        pynvml.nvmlInit()
        yield pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlShutdown()


@pytest.mark.parametrize("name", ASKED)
def test_the_fake_card_answers_as_the_real_one(card: Any, name: str) -> None:
    """Outside MIG mode, with nobody on the card: the same answer, or the same refusal."""
    assert said(getattr(pynvml, f"nvmlDeviceGet{name}"), card) == STATIC[name]


def test_the_fake_card_has_no_instance_and_no_sample_as_the_real_one(card: Any) -> None:
    slots = [said(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, card, slot) for slot in range(8)]
    assert slots == STATIC["MigDeviceHandleByIndex"]
    assert said(pynvml.nvmlDeviceGetProcessUtilization, card, 0) == STATIC["ProcessUtilization"]


def test_the_fakes_profiles_are_the_cards() -> None:
    """Slices, MiB and multiprocessors of every profile that both know, and the name that our rule gives them."""
    profiles = {each["name"].removeprefix("MIG "): each for each in STATIC["profiles"].values() if "name" in each}
    known = profiles.keys() & SHAPES.keys()
    assert len(known) == 7
    total_mib = STATIC["MemoryInfo_v2"]["total"] // 2**20
    for name in known:
        real, shape = profiles[name], SHAPES[name]
        assert (real["sliceCount"], real["memorySizeMB"]) == (shape.gpu, shape.mib)
        assert real["multiprocessorCount"] == shape.multiprocessors
        worked_out = profile_name(
            compute_slices=shape.compute, gpu_instance_slices=shape.gpu, memory_mib=shape.mib, total_mib=total_mib
        )
        assert worked_out == name.removesuffix("+me")


def test_a_look_of_the_driver_credits_one_process_and_only_the_sum_is_true() -> None:
    """Two processes at full work for 6 s: their ratios add up to the card's busy time and give neither its own."""
    credit = SURVEY["credit"]
    pids, works = credit["pids"], credit["work"]
    assert [each["busy_ms"] > 6_000 for each in works] == [True, True, False, False]
    busy_us = dict.fromkeys(pids, 0.0)
    named, since_us = Counter[int](), 22_400_000
    for at_us, rows in credit["looks"]:
        samples = [SmSample(pid=row[0], timestamp_us=row[1], sm_percent=row[2]) for row in rows if len(row) == 4]
        ratios, until_us = sm_ratios(samples, pids, since_us=since_us, now_us=at_us)
        for pid, ratio in ratios.items():
            assert ratio is not None
            busy_us[pid] += ratio * (until_us - since_us)
        if works[0]["from_us"] < since_us < until_us < works[0]["until_us"]:
            named[len(samples)] += 1
        since_us = until_us
    together_ms = works[0]["busy_ms"] + works[2]["busy_ms"] + works[3]["busy_ms"]
    assert sum(busy_us.values()) / 1000 == pytest.approx(together_ms, rel=0.05)
    assert busy_us[pids[0]] / 1000 < 0.7 * works[0]["busy_ms"]
    assert named[1] > 20 * named[2]


def credited(reader: str, pids: list[int]) -> dict[int, float | None]:
    """Ratios of these pids by what the driver sampled to a reader while two processes worked."""
    rows = SURVEY["pid_namespaces"]["sampled_to"][reader]
    samples = [SmSample(pid=row[0], timestamp_us=row[1], sm_percent=row[2]) for row in rows]
    return sm_ratios(samples, pids, since_us=0, now_us=max(each.timestamp_us for each in samples))[0]


@pytest.mark.parametrize("reader", ["root", "nobody", "nocaps"])
def test_outside_mig_nobody_needs_privileges_to_see_who_is_busy(reader: str) -> None:
    """Root, root without capabilities and user 65534 see both, one of them in a pid namespace of its own."""
    listed = SURVEY["pid_namespaces"]["listed_to"][reader]
    assert listed == SURVEY["pid_namespaces"]["host_pids_of_two_works"]
    ratios = credited(reader, listed)
    assert all(ratio is not None and ratio > 0.2 for ratio in ratios.values())


def test_in_a_pid_namespace_of_its_own_an_agent_knows_that_it_does_not_know() -> None:
    """The driver lists nobody from outside, but samples them: one of its own processes is then not taken for idle."""
    assert SURVEY["pid_namespaces"]["listed_to"]["nested"] == []
    assert credited("nested", [1]) == {1: None}


def test_under_mps_the_servers_credit_is_not_taken_for_idle_clients() -> None:
    """Both clients worked 6 of 10 s; the driver credits the server, and one of them nothing at all."""
    mps = SURVEY["mps"]
    pids = [pid for pid, _ in mps["listed"]]
    samples = [SmSample(pid=row[0], timestamp_us=row[1], sm_percent=row[2]) for row in mps["sampled"]]
    ratios, _ = sm_ratios(samples, pids, since_us=0, now_us=max(each.timestamp_us for each in samples))
    processes = tuple(
        process(pid, memory_used_bytes=used_bytes, sm_ratio=ratios[pid]) for pid, used_bytes in mps["listed"]
    )
    of_pod = {int(pid): in_pod(POD_A) for pid in mps["clients"]} | {mps["server"]: CgroupOwner()}
    sight, _ = look(gpu(processes=processes), kubelet=kubelet(given("p")), owners=of_pod)
    (holding,) = sight.holdings
    assert ratios[824] == 0.0
    assert (holding.busy_ppm, holding.memory_bytes) == (None, sum(used for pid, used in mps["listed"] if pid != 827))
