"""What an H100 really answered (data/real_h100.json), through the agent's own code to readings, usage and metrics.

The recording was made by tests/gpu/record.py: every NVML answer byte for byte, the cgroups of the processes, what
the agent there pushed and showed, and what the processes had really done. tests/nvml/replay.py plays it again here.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from exporter import wire
from exporter.nvml.process_tables import RECORD_ROOM_BYTES, SENTINEL, decode_records
from exporter.nvml.processes import PROCESS_LIST, RECORDS_FIRST
from tests.nvml import tape

ROOT = Path(__file__).parents[2]
RECORDING = Path(__file__).with_name("data") / "real_h100.json"
PLAY_TIMEOUT_S = 120
CLOCKS_APART_MS = 20  # a beat's own time is read some calls before the first one recorded
GIB = 1024**3
BEAT_MS = 1000

Recorded = dict[str, Any]
Played = dict[str, Any]


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    found: Recorded = json.loads(RECORDING.read_text())
    return found


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The agent's second life, in a process that finds the replaying library as a pod finds the driver's."""
    if not tape.can_build():
        pytest.skip("gcc is missing: install the packages gcc and libc6-dev")
    scratch = tmp_path_factory.mktemp("play")
    library = tape.build(tmp_path_factory.mktemp("library"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.nvml.replay", str(RECORDING), str(library), str(scratch)],
        cwd=ROOT, env={**os.environ, "LD_LIBRARY_PATH": str(library.parent)},
        capture_output=True, text=True, timeout=PLAY_TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: Played = json.loads(done.stdout)
    return answer


def raw(reading: list[str], call: str, out: int = 1) -> bytes:
    """The bytes that the driver wrote to an argument of the last such call of a reading."""
    (*_, line) = [each for each in reading if each.split()[2] == call]
    return bytes.fromhex(line.split()[4 + out].partition(":")[2])


def work_ms(recorded: Recorded, pod: str, until_ms: int | None = None) -> int:
    """What a pod really worked, in all or before a moment."""
    works = [each for each in recorded["work"] if each["pod"] == pod]
    return sum(each["busy_ms"] for each in works if until_ms is None or each["until_ms"] <= until_ms)


def samples(page: str) -> dict[str, float]:
    """A page's samples by name and labels."""
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


def test_the_agent_asks_what_it_asked_the_card(recorded: Recorded, played: Played) -> None:
    """Every question of the replay has its recorded answer; where this fails, exporter/nvml asks something new."""
    assert played["unanswered"] == []


def test_readings_are_what_the_card_wrote(recorded: Recorded, played: Played) -> None:
    """Each figure of each reading, decoded here from the driver's bytes once more."""
    assert len(played["readings"]) == len(recorded["readings"])
    for lines, reading in zip(recorded["readings"], played["readings"], strict=True):
        (gpu,) = reading["gpus"]
        total, _, _, used = struct.unpack_from("<4Q", raw(lines, "nvmlDeviceGetMemoryInfo_v2"), 8)
        (busy_percent,) = struct.unpack_from("<I", raw(lines, "nvmlDeviceGetUtilizationRates"))
        (power_milliwatts,) = struct.unpack("<I", raw(lines, "nvmlDeviceGetPowerUsage"))
        (energy_mj,) = struct.unpack("<Q", raw(lines, "nvmlDeviceGetTotalEnergyConsumption"))
        (celsius,) = struct.unpack_from("<i", raw(lines, "nvmlDeviceGetTemperatureV"), 8)
        assert (gpu["memory_total_bytes"], gpu["memory_used_bytes"]) == (total, used)
        assert gpu["utilization_ratio"] == busy_percent / 100
        assert gpu["power_watts"] == power_milliwatts / 1000
        assert (gpu["energy_mj"], gpu["temperature_celsius"]) == (energy_mj, celsius)
        assert (gpu["mig_enabled"], gpu["mig_slices_max"], gpu["instances"]) == (False, None, [])
        assert (reading["driver_version"], gpu["uuid"]) == ("580.159.04", recorded["card"])
        assert (gpu["denied"], reading["lost"]) == ([], [])


def test_energy_and_power_tell_of_the_same_work(played: Played) -> None:
    """The counter never falls, and over the recording agrees with the power readings to a tenth."""
    gpus = [reading["gpus"][0] for reading in played["readings"]]
    steps = [(after["energy_mj"] - before["energy_mj"]) / 1000 for before, after in pairwise(gpus)]
    assert min(steps) > 0
    assert sum(steps) == pytest.approx(sum(each["power_watts"] for each in gpus[1:]), rel=0.1)


def test_records_of_the_process_list_are_told_apart_although_the_driver_leaves_gaps(recorded: Recorded) -> None:
    """24 bytes each, the 4 after the pid not written: only the end of what was written tells their length."""
    seen = set()
    for lines in recorded["readings"]:
        (count,) = struct.unpack("<I", raw(lines, PROCESS_LIST, 1))
        written = raw(lines, PROCESS_LIST, 2)
        gap = bytes([SENTINEL] * 4)
        assert all(written[24 * n + 4 : 24 * n + 8] == gap for n in range(count))
        room = written.ljust(RECORDS_FIRST * RECORD_ROOM_BYTES, bytes([SENTINEL]))
        records = decode_records(room, count=count, capacity=RECORDS_FIRST)
        assert [each.pid for each in records] == [struct.unpack_from("<I", written, 24 * n)[0] for n in range(count)]
        assert all(each.instance is None for each in records)
        seen.add(count)
    assert seen == {0, 1, 2}


def test_processes_are_listed_as_long_as_they_live(recorded: Recorded, played: Played) -> None:
    """By host pid, from their first context to their end, killed at work or not, with the memory they took."""
    for lines, reading in zip(recorded["readings"], played["readings"], strict=True):
        at_ms = tape.at_ms(lines[0])
        listed = {each["pid"] for each in reading["gpus"][0]["processes"]}
        alive = {each["pid"] for each in recorded["processes"] if each["from_ms"] + 900 < at_ms < each["until_ms"]}
        begun = {each["pid"] for each in recorded["processes"] if each["from_ms"] < at_ms < each["until_ms"]}
        assert alive <= listed <= begun
    taken = {each["pid"]: each["memory_used_bytes"] for each in _processes(played)}
    of = {each["pod"]: taken[each["pid"]] for each in recorded["processes"]}
    context = of["leftover-0"]
    assert (of["train-0"] - context, of["notebook-0"] - context) == (2 * GIB, GIB // 2)


def _processes(played: Played) -> list[dict[str, Any]]:
    return [each for reading in played["readings"] for each in reading["gpus"][0]["processes"]]


def test_the_node_hour_is_the_one_the_agent_on_the_card_pushed(recorded: Recorded, played: Played) -> None:
    """Holdings, evidence, usage and use without allocation, to the clocks' difference."""
    there, here = recorded["bodies"]["recorded"], played["body"]
    assert [strip(each) for each in here["holdings"]] == [strip(each) for each in there["holdings"]]
    assert [strip(each) for each in here["unallocated_use"]] == [strip(each) for each in there["unallocated_use"]]
    assert here["through"] == pytest.approx(there["through"], abs=CLOCKS_APART_MS)
    for ours, theirs in zip(here["holdings"], there["holdings"], strict=True):
        for name in ("from", "to", "busy_ms"):
            assert ours.get(name, 0) == pytest.approx(theirs.get(name, 0), abs=CLOCKS_APART_MS)
        assert ours.get("memory_byte_seconds", 0) == pytest.approx(theirs.get("memory_byte_seconds", 0), rel=0.001)
    wire.decode(json.dumps(there).encode())


def strip(record: dict[str, Any]) -> dict[str, Any]:
    """A record without its figures, but with which of them are known."""
    figures = {"from", "to", "busy_ms", "memory_byte_seconds", "energy_mj"}
    return {name: value if name not in figures else "known" for name, value in record.items()}


def test_the_cards_energy_is_that_of_its_holders_and_idle(recorded: Recorded, played: Played) -> None:
    """What the counter grew by, to the millijoule; and at work the holder took more a second than nobody did."""
    counters = [reading["gpus"][0]["energy_mj"] for reading in played["readings"]]
    (card,) = played["body"]["gpus"]
    assert card["energy_mj"] == counters[-1] - counters[0]
    held = played["body"]["holdings"]
    held_mj = sum(each["energy_mj"] for each in held)
    assert held_mj + card["idle_energy_mj"] == card["energy_mj"]
    held_ms = sum(each["to"] - each["from"] for each in held)
    observed_ms = sum(end - start for start, end in card["observed"])
    assert held_mj / held_ms > card["idle_energy_mj"] / (observed_ms - held_ms) > 50  # watts


def test_busy_time_is_what_the_holder_really_worked(recorded: Recorded, played: Played) -> None:
    """While it is alone on its card: to a twentieth, work in full and in part, with a rest between."""
    first = played["body"]["holdings"][0]
    worked_ms = work_ms(recorded, "train-0", _unix_ms(recorded, first["to"]))
    assert worked_ms > 15_000
    assert first["busy_ms"] == pytest.approx(worked_ms, rel=0.05)


def test_busy_time_beside_another_is_unknown_and_not_what_the_driver_credits(
    recorded: Recorded, played: Played
) -> None:
    """Two pods worked side by side: the driver credits neither with what it did, so neither has a figure."""
    body = played["body"]
    assert "busy_ms" not in body["holdings"][1]
    assert "busy_ms" not in body["unallocated_use"][0]
    assert body["unallocated_use"][0]["memory_byte_seconds"] > 0
    pids = {each["pod"]: each["pid"] for each in recorded["processes"]}
    (stranger,) = [each for each in recorded["work"] if each["pod"] == "notebook-0"][:1]
    for pod in ("train-0", "notebook-0"):
        (work,) = [
            each for each in recorded["work"]
            if each["pod"] == pod and abs(each["from_ms"] - stranger["from_ms"]) < BEAT_MS
        ]  # fmt: skip
        credited_s = sum(
            each["sm_ratio"]
            for lines, reading in zip(recorded["readings"], played["readings"], strict=True)
            if work["from_ms"] < tape.at_ms(lines[0]) < work["until_ms"] + BEAT_MS
            for each in reading["gpus"][0]["processes"]
            if each["pid"] == pids[pod]
        )
        assert 0 < credited_s < 0.75 * work["busy_ms"] / 1000


def test_a_stranger_alone_on_a_free_card_is_busy_as_it_was(recorded: Recorded, played: Played) -> None:
    """Use without allocation, to a tenth."""
    leftover = played["body"]["unallocated_use"][1]
    assert leftover["busy_ms"] == pytest.approx(work_ms(recorded, "leftover-0"), rel=0.1)


@pytest.mark.parametrize("moment", ["idle", "busy", "both", "after"])
def test_metrics_are_those_the_agent_on_the_card_showed(recorded: Recorded, played: Played, moment: str) -> None:
    """All that is said of the card at the same beat; what is counted since the start, to the clocks' difference."""
    there = samples(recorded["pages"][moment])
    beat = there["gpu_exporter_last_beat_timestamp_seconds"]
    (here,) = (
        page
        for page in map(samples, played["pages"])
        if abs(page["gpu_exporter_last_beat_timestamp_seconds"] - beat) < CLOCKS_APART_MS / 1000
    )
    of_the_card = {name for name in there if re.match(r"gpu_(?!exporter)", name)}
    assert {name for name in here if re.match(r"gpu_(?!exporter)", name)} == of_the_card
    assert len(of_the_card) >= 11
    for name in of_the_card:
        assert here[name] == pytest.approx(there[name], abs=CLOCKS_APART_MS / 1000), name


def _unix_ms(recorded: Recorded, offset_ms: int) -> int:
    first = recorded["readings"][0][0]
    return tape.at_ms(first) - tape.at_ms(first) % wire.HOUR_MS + offset_ms
