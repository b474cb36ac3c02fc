"""The tape (tape.c) loses nothing: what is read through it, and from it, is what the driver itself says.

Over the fake driver, which knows more than the cards at hand: MIG instances, GPM, accounting, XIDs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.nvml import fake, read_cards, tape

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60

Said = dict[str, Any]


def read(how: str, file: Path, env: dict[str, str]) -> Said:
    """What a process of its own reads."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.nvml.read_cards", how, str(file)],
        cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: Said = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake.build(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, driver: Path) -> Path:
    return tape.build(tmp_path_factory.mktemp("tape"))


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory, driver: Path) -> Said:
    """The driver's own answers."""
    state = tmp_path_factory.mktemp("direct") / "state"
    return read("ask", state, {"FAKE_NVML_STATE": str(state), "LD_LIBRARY_PATH": str(driver.parent)})


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recording") / "lines"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, driver: Path, library: Path, lines: Path) -> Said:
    """The same through the tape, which writes to `lines`."""
    state = tmp_path_factory.mktemp("recorded") / "state"
    return read("ask", state, {"FAKE_NVML_STATE": str(state), **tape.recording(library, driver=driver, to=lines)})


@pytest.fixture(scope="module")
def replayed(library: Path, recorded: Said, lines: Path) -> Said:
    """The same without a driver."""
    return read("replay", lines, {"LD_LIBRARY_PATH": str(library.parent)})


def test_the_scene_has_every_figure(direct: Said) -> None:
    """Else the other tests could not miss it."""
    assert len(direct["readings"]) == read_cards.READINGS
    for reading in direct["readings"]:
        whole, cut = reading["gpus"]
        assert [name for name, value in whole.items() if value is None] == ["mig_slices_max"]
        assert None not in whole["health"].values()
        assert None not in whole["links"].values()
        assert [each["profile_id"] is None for each in cut["instances"]] == [False, False]
        assert [each["pid"] for each in cut["processes"]] == [read_cards.SLICED]
        assert sorted(reading["xids_watched"]) == sorted([whole["uuid"], cut["uuid"]])
    _, second, third = direct["readings"]
    assert sorted(each["xid"] for each in second["xids"]) == [31, 79]
    assert [each["sm_ratio"] for each in second["gpus"][1]["instances"]] == [0.25, 0.75]
    assert third["gpus"][1]["instances"][0]["sm_ratio"] == 0.5
    assert [each["memory_peak_bytes"] is None for each in second["gpus"][0]["processes"]] == [True, False]


def test_a_recording_disturbs_nothing(direct: Said, recorded: Said) -> None:
    """Whoever reads through the tape reads what the driver says; a call that tape.c does not know would be absent."""
    assert recorded["readings"] == direct["readings"]


@pytest.mark.parametrize(
    "name", ["nvmlDeviceGetTemperatureV", "nvmlEventSetFree", "nvmlGpmSampleFree", "nvmlShutdown"]
)
def test_what_no_reading_would_miss_is_recorded_too(recorded: Said, lines: Path, name: str) -> None:
    """The driver answers it; for the first there is another call, of the others nobody hears."""
    codes = {line.split()[3] for line in lines.read_text().splitlines() if line.split()[2] == name}
    assert codes == {"0"}


def test_a_recording_says_everything_again(recorded: Said, replayed: Said) -> None:
    """And nothing was asked that it has no answer to."""
    assert replayed["unanswered"] == []
    assert replayed["readings"] == recorded["readings"]


def test_each_reading_has_the_events_fetched_for_it(recorded: Said, lines: Path) -> None:
    """They are fetched before the cards are counted: with the reading before, they would be told a beat early."""
    waits = [
        [line.split()[3] for line in each if line.split()[2] == "nvmlEventSetWait_v2"]
        for each in tape.readings(lines.read_text().splitlines())
    ]
    timeout = "10"
    assert waits == [[], ["0", timeout, "0", timeout], [timeout, timeout]]
