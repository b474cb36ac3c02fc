"""exporter/nvml against the fake driver in tests/nvml: unmodified pynvml, real ctypes, real errors.

What the fake believes about the driver is proven on real cards only (test_real_gpu.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import ReplayClock
from exporter.health import Health
from exporter.nvml import DriverChanged, Nvml, NvmlError, NvmlMissing
from exporter.nvml.process_tables import SmSample
from exporter.nvml.process_tables import sm_ratios as shares_of
from exporter.reading import GpuReading, ProcessReading
from tests.nvml import fake as driver
from tests.nvml.fake import MIB, FakeNvml

ROOT = Path(__file__).parents[2]
NOW_MS = 1_790_000_000_000
NOW_US = NOW_MS * 1000
CHILD_TIMEOUT_S = 60
PROCESS_LIST = "nvmlDeviceGetComputeRunningProcesses_v3"


@pytest.fixture
def clock() -> ReplayClock:
    return ReplayClock(NOW_MS)


@pytest.fixture
def nvml(fake: FakeNvml, clock: ReplayClock) -> Iterator[Nvml]:
    nvml = Nvml(clock)
    yield nvml
    nvml.close()


def only(nvml: Nvml) -> GpuReading:
    (gpu,) = nvml.read().gpus
    return gpu


def sm_ratios(gpu: GpuReading) -> dict[int, float | None]:
    return {process.pid: process.sm_ratio for process in gpu.processes}


def read_elsewhere(library: Path, state: Path | None = None) -> dict[str, Any]:
    """Read a node in a new process, which finds the library by LD_LIBRARY_PATH as a pod does."""
    program = (
        "import dataclasses, json\n"
        "from exporter.nvml import Nvml\n"
        "try: answer = dataclasses.asdict(Nvml().read())\n"
        "except Exception as error: answer = {'raised': type(error).__name__, 'text': str(error)}\n"
        "print(json.dumps(answer, default=sorted))\n"
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library.parent), "FAKE_NVML_STATE": str(state)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=True,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


# Opening


def test_a_library_that_cannot_be_loaded_is_missing_and_the_error_says_what_to_do(tmp_path: Path) -> None:
    """Without a usable libnvidia-ml.so.1 opening raises NvmlMissing, which names the ways to have one."""
    library = tmp_path / driver.SONAME
    library.write_text("not a library")
    answer = read_elsewhere(library)
    assert answer["raised"] == "NvmlMissing"
    assert "LD_LIBRARY_PATH" in answer["text"]
    assert "--simulate" in answer["text"]


def test_a_node_of_eight_cards_is_read_through_the_library_path(library_dir: Path, tmp_path: Path) -> None:
    """A new process finds the library by LD_LIBRARY_PATH and reads the driver's version and eight cards in order."""
    with FakeNvml(tmp_path / "state") as fake:
        for _ in range(8):
            fake.add_gpu()
        answer = read_elsewhere(driver.build(library_dir), fake.path)
    assert answer["driver_version"] == "580.95.05"
    assert [gpu["index"] for gpu in answer["gpus"]] == list(range(8))


@pytest.mark.parametrize(
    ("code", "text"), [(driver.DRIVER_NOT_LOADED, "not loaded"), (driver.NO_PERMISSION, "privileged")]
)
def test_a_driver_that_does_not_open_is_missing(fake: FakeNvml, code: int, text: str) -> None:
    """A driver that is not loaded, or not ours to talk to, raises NvmlMissing with what to do."""
    fake.set(init_code=code)
    with pytest.raises(NvmlMissing, match=text):
        Nvml()


def test_an_unknown_error_of_opening_is_not_called_missing(fake: FakeNvml) -> None:
    """What may pass by itself is a plain NvmlError, so that the agent tries again."""
    fake.set(init_code=driver.UNKNOWN)
    with pytest.raises(NvmlError) as caught:
        Nvml()
    assert type(caught.value) is NvmlError
    assert caught.value.code == driver.UNKNOWN


def test_a_driver_upgraded_under_us_is_no_nvml_error(fake: FakeNvml) -> None:
    """A library older than the kernel's driver raises DriverChanged, which retrying never catches."""
    fake.set(init_code=driver.LIB_RM_VERSION_MISMATCH)
    with pytest.raises(DriverChanged, match="exit") as caught:
        Nvml()
    assert not isinstance(caught.value, NvmlError)
    fake.set(init_code=0)
    Nvml().close()


def test_a_driver_upgraded_between_two_readings_is_noticed(fake: FakeNvml, nvml: Nvml) -> None:
    """The mismatch rises from any call of a reading, past the isolation of cards."""
    fake.add_gpu()
    fake.force("nvmlDeviceGetPowerUsage", driver.LIB_RM_VERSION_MISMATCH)
    with pytest.raises(DriverChanged):
        nvml.read()


def test_mps_localities_are_never_asked_for(fake: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that makes the driver list MPS localities instead of cards is gone before NVML is opened."""
    monkeypatch.setenv("NVML_MPS_DEVICE_ENUMERATION", "1")
    Nvml().close()
    assert "NVML_MPS_DEVICE_ENUMERATION" not in os.environ


def test_close_lets_go_and_the_next_reading_opens_again(fake: FakeNvml, nvml: Nvml) -> None:
    """After close(), safe to run twice, the driver is free to be reset; read() comes back by itself."""
    fake.add_gpu()
    nvml.close()
    nvml.close()
    fake.set(init_code=driver.DRIVER_NOT_LOADED)
    with pytest.raises(NvmlMissing):
        nvml.read()
    fake.set(init_code=0)
    assert len(nvml.read().gpus) == 1


# A card


def test_a_whole_card_is_read_in_our_units(fake: FakeNvml, nvml: Nvml) -> None:
    """Bytes, ratios, watts, millijoules and degrees; no MIG, so no slices; nothing denied."""
    gpu = fake.add_gpu(uuid="GPU-1", memory_mib=81_559, minor=3)
    gpu.set(used_bytes=20_480 * MIB, busy_percent=87, temperature_celsius=61)
    gpu.draw(0, energy_mj=123_456)
    reading = only(nvml)
    assert replace(reading, health=Health()) == GpuReading(
        uuid="GPU-1",
        index=0,
        model=driver.H100,
        memory_total_bytes=81_559 * MIB,
        minor=3,
        memory_used_bytes=20_480 * MIB,
        utilization_ratio=0.87,
        power_watts=0.0,
        energy_mj=123_456,
        temperature_celsius=61,
    )


def test_power_and_energy_agree(fake: FakeNvml, nvml: Nvml) -> None:
    """Power is in watts and the energy counter never falls."""
    fake.add_gpu().draw(412.5, energy_mj=1_000)
    first, second = only(nvml), only(nvml)
    assert first.power_watts == 412.5
    assert first.energy_mj is not None
    assert second.energy_mj is not None
    assert 1_000 <= first.energy_mj <= second.energy_mj


def test_an_old_driver_counts_its_own_memory_as_used(library_dir: Path, tmp_path: Path) -> None:
    """Without version 2 of the memory call version 1 answers, with what the driver keeps for itself."""
    with FakeNvml(tmp_path / "state") as fake:
        fake.add_gpu().set(used_bytes=20_480 * MIB, reserved_bytes=600 * MIB)
        new = read_elsewhere(driver.build(library_dir), fake.path)
        old = read_elsewhere(driver.build(library_dir, without=["nvmlDeviceGetMemoryInfo_v2"]), fake.path)
    assert new["gpus"][0]["memory_used_bytes"] == 20_480 * MIB
    assert old["gpus"][0]["memory_used_bytes"] == 21_080 * MIB


def test_a_missing_function_costs_its_own_value_only(library_dir: Path, tmp_path: Path) -> None:
    """A driver without a function leaves that value absent, quietly; a newer call falls back on the older one."""
    without = ["nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetTemperatureV", PROCESS_LIST]
    with FakeNvml(tmp_path / "state") as fake:
        fake.add_gpu().add_process(4711)
        (gpu,) = read_elsewhere(driver.build(library_dir, without=without), fake.path)["gpus"]
    assert gpu["energy_mj"] is None
    assert gpu["temperature_celsius"] == 35
    assert gpu["processes"] == []
    assert gpu["denied"] == []


@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("nvmlDeviceGetPowerUsage", "power_watts"),
        ("nvmlDeviceGetTotalEnergyConsumption", "energy_mj"),
        ("nvmlDeviceGetUtilizationRates", "utilization_ratio"),
    ],
)
def test_not_supported_is_quiet_and_no_permission_is_named(
    fake: FakeNvml, nvml: Nvml, function: str, field: str
) -> None:
    """Both leave the value absent, never 0; only what was refused for want of permission is named in `denied`."""
    fake.add_gpu()
    fake.force(function, driver.NOT_SUPPORTED)
    quiet = only(nvml)
    fake.relent()
    fake.force(function, driver.NO_PERMISSION)
    loud = only(nvml)
    assert getattr(quiet, field) is None
    assert quiet.denied == frozenset()
    assert getattr(loud, field) is None
    assert loud.denied == {function}


def test_a_garbled_name_makes_the_model_unknown(fake: FakeNvml, nvml: Nvml) -> None:
    """A name that is not utf-8 neither raises nor is guessed: the model is "unknown", which has no price."""
    fake.add_gpu().set(name=b"NVIDIA \xff\xfe")
    assert only(nvml).model == "unknown"


def test_a_node_without_cards_is_empty(fake: FakeNvml, nvml: Nvml) -> None:
    """No card is an answer, not an error."""
    assert nvml.read().gpus == ()


# MIG


def test_slot_two_is_read_behind_an_empty_slot(fake: FakeNvml, nvml: Nvml) -> None:
    """An empty slot is passed over, and a MIG device has its profile, ids, slices and memory."""
    gpu = fake.add_gpu(mig=["3g.40gb", "1g.10gb", "1g.10gb"])
    gpu.instances[1].destroy()
    gpu.instances[2].set(used_bytes=500 * MIB)
    reading = only(nvml)
    first, second = reading.instances
    assert (reading.mig_enabled, reading.mig_slices_max) == (True, 7)
    assert first.profile == "3g.40gb"
    assert second.uuid == gpu.instances[2].uuid
    assert (second.profile, second.gpu_instance_id, second.compute_instance_id) == ("1g.10gb", 9, 0)
    assert (second.compute_slices, second.gpu_instance_slices, second.memory_mib) == (1, 1, 9_984)
    assert second.memory_used_bytes == 500 * MIB


def test_the_driver_has_no_utilisation_under_mig(fake: FakeNvml, nvml: Nvml) -> None:
    """Under MIG the card's and the processes' busy ratios are absent, and not for want of permission."""
    gpu = fake.add_gpu(mig=["1g.10gb"])
    gpu.instances[0].add_process(4711)
    reading = only(nvml)
    assert reading.utilization_ratio is None
    assert [process.sm_ratio for process in reading.processes] == [None]
    assert reading.denied == frozenset()


def test_the_name_tells_apart_profiles_of_one_size(fake: FakeNvml, nvml: Nvml) -> None:
    """The profile comes from the end of the device's name, with its attributes."""
    fake.add_gpu(mig=["1g.10gb+me", "1g.20gb", "1c.3g.40gb"])
    assert [each.profile for each in only(nvml).instances] == ["1g.10gb+me", "1g.20gb", "1c.3g.40gb"]


def test_a_profile_is_worked_out_where_the_name_has_none(fake: FakeNvml, nvml: Nvml) -> None:
    """An old driver's name without a profile, or a garbled one, falls back on the rule."""
    gpu = fake.add_gpu(mig=[])
    gpu.add_instance("3g.40gb", name="NVIDIA H100")
    gpu.add_instance("1g.10gb").set(name=b"\xff")
    assert [each.profile for each in only(nvml).instances] == ["3g.40gb", "1g.10gb"]


def test_instances_remade_between_readings_are_new_ones(fake: FakeNvml, nvml: Nvml) -> None:
    """A reused UUID and a stale handle do not bring back the old profile."""
    gpu = fake.add_gpu(mig=["1g.10gb", "1g.10gb"])
    before = only(nvml).instances
    gpu.remake_mig(["3g.40gb"])
    (after,) = only(nvml).instances
    assert after.uuid == before[0].uuid
    assert (before[0].profile, after.profile) == ("1g.10gb", "3g.40gb")
    assert after.compute_slices == 3


def test_instances_remade_during_a_reading_are_read_once_more(fake: FakeNvml, nvml: Nvml) -> None:
    """A handle that goes stale between two calls costs a second look, not the card."""
    gpu = fake.add_gpu(mig=["1g.10gb", "2g.20gb"])
    fake.force("nvmlDeviceGetAttributes_v2", remake_mig=True, times=1)
    assert [each.uuid for each in only(nvml).instances] == [each.uuid for each in gpu.instances]


def test_instances_that_never_stand_still_cost_their_card_only(fake: FakeNvml, nvml: Nvml) -> None:
    """Stale twice over is lost, with its UUID; the neighbour is read."""
    gpu, neighbour = fake.add_gpu(mig=["1g.10gb"]), fake.add_gpu()
    nvml.read()
    fake.force("nvmlDeviceGetAttributes_v2", remake_mig=True)
    reading = nvml.read()
    assert [each.uuid for each in reading.gpus] == [neighbour.uuid]
    assert [each.uuid for each in reading.lost] == [gpu.uuid]


def test_mig_mode_is_looked_at_each_time(fake: FakeNvml, nvml: Nvml) -> None:
    """A card that enters MIG mode, and leaves it, is read as it is."""
    gpu = fake.add_gpu()
    assert not only(nvml).mig_enabled
    gpu.remake_mig(["7g.80gb"])
    assert [each.profile for each in only(nvml).instances] == ["7g.80gb"]
    gpu.set(mig_current=0)
    assert only(nvml).instances == ()


def test_a_board_without_mig_is_not_an_error(fake: FakeNvml, nvml: Nvml) -> None:
    """Not supported simply means: not in MIG mode."""
    fake.add_gpu(mig_capable=False)
    reading = only(nvml)
    assert (reading.mig_enabled, reading.mig_slices_max) == (False, None)


# Processes


def test_processes_of_all_instances_come_from_the_card(fake: FakeNvml, nvml: Nvml) -> None:
    """28 processes of 7 instances are listed with their instance's UUID."""
    gpu = fake.add_gpu(mig=["1g.10gb"] * 7)
    for position in range(28):
        gpu.instances[position % 7].add_process(1000 + position, memory_mib=100)
    processes = only(nvml).processes
    assert len(processes) == 28
    of_slot_two = [process for process in processes if process.device == gpu.instances[2].uuid]
    assert [process.pid for process in of_slot_two] == [1002, 1009, 1016, 1023]
    assert of_slot_two[0] == ProcessReading(pid=1002, device=gpu.instances[2].uuid, memory_used_bytes=100 * MIB)


def test_without_privileges_each_instance_lists_its_own(fake: FakeNvml, nvml: Nvml) -> None:
    """Where the card's list is refused those of its instances are asked, and the refusal is named."""
    gpu = fake.add_gpu(mig=["1g.10gb", "1g.10gb"])
    gpu.instances[1].add_process(4711)
    assert only(nvml).denied == frozenset()
    fake.set(unprivileged=1)
    reading = only(nvml)
    assert [(each.pid, each.device) for each in reading.processes] == [(4711, gpu.instances[1].uuid)]
    assert reading.memory_used_bytes is None
    assert reading.memory_total_bytes == 81_559 * MIB
    assert reading.denied == {PROCESS_LIST, "nvmlDeviceGetMemoryInfo"}


def test_a_card_whose_memory_was_never_seen_is_lost_rather_than_guessed(fake: FakeNvml, nvml: Nvml) -> None:
    """Every share is a share of the card's memory: without it the card is lost, with what to do."""
    gpu = fake.add_gpu(mig=["1g.10gb"])
    fake.set(unprivileged=1)
    (lost,) = nvml.read().lost
    assert lost.uuid == gpu.uuid
    assert "CAP_SYS_ADMIN" in lost.error


def test_a_process_of_an_instance_made_since_waits_for_the_next_reading(fake: FakeNvml, nvml: Nvml) -> None:
    """A process is never put on the whole card because its instance is not known yet."""
    gpu = fake.add_gpu(mig=["1g.10gb"])
    gpu.add_process(4711, gi=12, ci=0)
    assert only(nvml).processes == ()


def test_memory_that_the_driver_cannot_say_is_absent(fake: FakeNvml, nvml: Nvml) -> None:
    """All ones is not 16 exbibytes."""
    fake.add_gpu().add_process(4711, memory_mib=None)
    assert only(nvml).processes[0].memory_used_bytes is None


def test_more_processes_than_first_expected_are_all_listed(fake: FakeNvml, nvml: Nvml) -> None:
    """A list longer than our first buffer is asked for again with room."""
    gpu = fake.add_gpu()
    for pid in range(1, 61):
        gpu.add_process(pid)
    assert [process.pid for process in only(nvml).processes] == list(range(1, 61))


def test_longer_records_of_some_drivers_are_read_right(library_dir: Path, tmp_path: Path) -> None:
    """Drivers 535.43 to 535.86 have records of 32 bytes: nobody's pid is taken for another's."""
    with FakeNvml(tmp_path / "state") as fake:
        gpu = fake.add_gpu()
        for pid in (1000, 1001, 1002):
            gpu.add_process(pid, memory_mib=500)
        (reading,) = read_elsewhere(driver.build(library_dir, record_bytes=32), fake.path)["gpus"]
    assert [(each["pid"], each["memory_used_bytes"]) for each in reading["processes"]] == [
        (1000, 500 * MIB),
        (1001, 500 * MIB),
        (1002, 500 * MIB),
    ]


def test_records_of_unknown_length_are_refused(library_dir: Path, tmp_path: Path) -> None:
    """With records of 40 bytes processes are unknown, and the list's name is shown; the rest of the card is read."""
    with FakeNvml(tmp_path / "state") as fake:
        fake.add_gpu().add_process(1000, memory_mib=500)
        (reading,) = read_elsewhere(driver.build(library_dir, record_bytes=40), fake.path)["gpus"]
    assert reading["processes"] == []
    assert reading["denied"] == [PROCESS_LIST]
    assert reading["power_watts"] == 0


# How busy processes are


async def test_windows_of_busy_ratios_tile(fake: FakeNvml, nvml: Nvml, clock: ReplayClock) -> None:
    """What was told once is not told again: each reading asks for what came after the last sample."""
    gpu = fake.add_gpu()
    gpu.add_process(1, sm_percent=40, sample_us=NOW_US - 500_000)
    gpu.add_process(2, sm_percent=60, sample_us=NOW_US - 200_000)
    assert sm_ratios(only(nvml)) == {1: 0.4, 2: 0.6}
    assert sm_ratios(only(nvml)) == {1: 0.0, 2: 0.0}
    await clock.sleep(10)
    gpu.clear_processes()
    gpu.add_process(1, sm_percent=90, sample_us=NOW_US + 5_000_000)
    gpu.add_process(2)
    assert sm_ratios(only(nvml)) == {1: 0.9, 2: 0.0}


def test_nobody_busy_is_a_true_zero(fake: FakeNvml, nvml: Nvml) -> None:
    """ "Not found", and a success with no sample (which pynvml raises), both mean that nobody was credited."""
    fake.add_gpu().add_process(1)
    assert sm_ratios(only(nvml)) == {1: 0.0}
    fake.force("nvmlDeviceGetProcessUtilization", driver.SUCCESS)
    assert sm_ratios(only(nvml)) == {1: 0.0}


def test_samples_that_cannot_be_true_are_dropped(fake: FakeNvml, nvml: Nvml, clock: ReplayClock) -> None:
    """Above 100 or from the future is "cannot say", and of an unknown pid nothing; the past was told already."""
    gpu = fake.add_gpu()
    gpu.add_process(1, sm_percent=4_000_000, sample_us=NOW_US)
    gpu.add_process(2, sm_percent=50, sample_us=NOW_US + 3_600_000_000)
    gpu.add_process(3, sm_percent=50, sample_us=NOW_US - 3_600_000_000)
    gpu.add_process(4, sm_percent=50, sample_us=NOW_US)
    gpu.add_process(5, sm_percent=4_000_000, sample_us=NOW_US, listed=False)
    gpu.add_process(6, sm_percent=50, sample_us=NOW_US + 3_600_000_000, listed=False)
    assert sm_ratios(only(nvml)) == {1: None, 2: None, 3: 0.0, 4: 0.5}


def test_credit_of_a_process_that_is_not_listed_leaves_the_others_unknown(fake: FakeNvml, nvml: Nvml) -> None:
    """It only draws, or is of another pid namespace: a listed one without credit may have been outdone by it."""
    gpu = fake.add_gpu()
    gpu.add_process(1)
    gpu.add_process(2, sm_percent=30, sample_us=NOW_US)
    gpu.add_process(3, sm_percent=50, sample_us=NOW_US, listed=False)
    assert sm_ratios(only(nvml)) == {1: None, 2: None}


def test_a_sample_that_was_told_already_is_not_told_again() -> None:
    """Should a driver repeat the last sample we asked from, or an older one, its process was idle since."""
    samples = [SmSample(pid=pid, timestamp_us=NOW_US - pid, sm_percent=50) for pid in (1, 2, 3)]
    ratios, until_us = shares_of(samples, {1, 2, 3}, since_us=NOW_US - 2, now_us=NOW_US)
    assert ratios == {1: 0.5, 2: 0.0, 3: 0.0}
    assert until_us == NOW_US - 1


def test_who_cannot_be_asked_has_no_busy_ratio(fake: FakeNvml, nvml: Nvml) -> None:
    """Not supported and no permission leave the ratio absent, never 0."""
    fake.add_gpu().add_process(1, sm_percent=50)
    fake.force("nvmlDeviceGetProcessUtilization", driver.NO_PERMISSION)
    reading = only(nvml)
    assert sm_ratios(reading) == {1: None}
    assert reading.denied == {"nvmlDeviceGetProcessUtilization"}


def test_a_list_that_grows_between_two_calls_is_asked_for_again(fake: FakeNvml, nvml: Nvml) -> None:
    """pynvml does not ask again; we do, a bounded number of times."""
    fake.add_gpu().add_process(1, sm_percent=50, sample_us=NOW_US)
    fake.force("nvmlDeviceGetProcessUtilization", driver.INSUFFICIENT_SIZE, times=2)
    assert sm_ratios(only(nvml)) == {1: 0.5}


# What goes wrong


@pytest.mark.parametrize("code", [None, driver.RESET_REQUIRED, driver.UNKNOWN])
def test_a_lost_card_is_named_and_its_neighbours_go_on(fake: FakeNvml, nvml: Nvml, code: int | None) -> None:
    """A card that is lost, needs a reset or fails otherwise is in `lost` with its UUID, and comes back by itself."""
    first, second = fake.add_gpu(), fake.add_gpu()
    assert len(nvml.read().gpus) == 2
    if code is None:
        first.lose()
    else:
        fake.force("nvmlDeviceGetMigMode", code, gpu=0)
    reading = nvml.read()
    assert [gpu.uuid for gpu in reading.gpus] == [second.uuid]
    assert [(lost.index, lost.uuid) for lost in reading.lost] == [(0, first.uuid)]
    assert reading.lost[0].error
    first.come_back()
    fake.relent()
    assert [gpu.uuid for gpu in nvml.read().gpus] == [first.uuid, second.uuid]


def test_a_card_never_seen_has_no_uuid(fake: FakeNvml, nvml: Nvml) -> None:
    """Lost from the start: an index and no name."""
    fake.add_gpu().lose()
    (lost,) = nvml.read().lost
    assert (lost.index, lost.uuid) == (0, None)


def test_cards_that_change_places_keep_their_uuids(fake: FakeNvml, nvml: Nvml) -> None:
    """After a card fell off, indexes may shift: a lost index does not take the name of a card that answers."""
    fake.add_gpu(uuid="GPU-a")
    other = fake.add_gpu(uuid="GPU-b")
    nvml.read()
    other.lose()
    nvml.read()
    fake.force("nvmlDeviceGetHandleByIndex_v2", driver.UNKNOWN, gpu=0)
    other.set(uuid=b"GPU-a")
    other.come_back()
    reading = nvml.read()
    assert [gpu.uuid for gpu in reading.gpus] == ["GPU-a"]
    assert [(lost.index, lost.uuid) for lost in reading.lost] == [(0, None)]


@pytest.mark.parametrize("code", [driver.UNINITIALIZED, driver.DRIVER_NOT_LOADED, driver.UNKNOWN])
def test_a_dead_client_is_opened_anew(fake: FakeNvml, nvml: Nvml, code: int) -> None:
    """Where no card answers at all the reading raises, and the next one opens NVML again."""
    fake.add_gpu(), fake.add_gpu()
    nvml.read()
    fake.force("nvmlDeviceGetMigMode", code, times=2)
    with pytest.raises(NvmlError):
        nvml.read()
    fake.set(init_code=driver.DRIVER_NOT_LOADED)
    with pytest.raises(NvmlMissing):
        nvml.read()
    fake.set(init_code=0)
    assert len(nvml.read().gpus) == 2


def test_a_node_that_cannot_be_counted_is_opened_anew(fake: FakeNvml, nvml: Nvml) -> None:
    """The same where the driver cannot even say how many cards there are."""
    fake.add_gpu()
    fake.force("nvmlDeviceGetCount_v2", driver.UNKNOWN, times=1)
    with pytest.raises(NvmlError, match="nvmlDeviceGetCount"):
        nvml.read()
    assert len(nvml.read().gpus) == 1


def test_our_errors_can_be_hashed_and_compared(fake: FakeNvml) -> None:
    """pynvml's own cannot: none of them leaves the door, not even as a cause."""
    fake.set(init_code=driver.UNKNOWN)
    with pytest.raises(NvmlError) as caught:
        Nvml()
    assert hash(caught.value) is not None
    assert caught.value in (ValueError(), caught.value)
    assert caught.value.__cause__ is None


# What it costs


def test_a_second_reading_asks_only_what_changes(fake: FakeNvml, nvml: Nvml) -> None:
    """Eight cards of seven instances with four processes each: an instance costs six calls, a card fifteen."""
    for _ in range(8):
        gpu = fake.add_gpu(mig=["1g.10gb"] * 7)
        for position in range(28):
            gpu.instances[position % 7].add_process(1000 + position)
    nvml.read()
    first = fake.calls
    nvml.read()
    assert fake.calls - first <= 8 * (15 + 7 * 6) + 2


def test_instances_are_whole_while_they_come_and_go(fake: FakeNvml, nvml: Nvml) -> None:
    """However MIG is remade during a reading, no instance has another's slices, and at worst the card is lost."""
    gpu = fake.add_gpu(mig=[])
    stop = threading.Event()

    def remake() -> None:
        while not stop.is_set():
            gpu.remake_mig(["1g.10gb"] * 7)
            gpu.remake_mig(["3g.40gb", "4g.40gb"])

    thread = threading.Thread(target=remake)
    thread.start()
    try:
        readings = [nvml.read() for _ in range(200)]
    finally:
        stop.set()
        thread.join()
    assert all(len(reading.gpus) + len(reading.lost) == 1 for reading in readings)
    for instance in (instance for reading in readings for card in reading.gpus for instance in card.instances):
        shape = driver.SHAPES[instance.profile]
        assert (instance.gpu_instance_slices, instance.memory_mib) == (shape.gpu, shape.mib)
