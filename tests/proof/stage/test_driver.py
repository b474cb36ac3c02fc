"""The driver of the stage: who works on its cards, how they are cut, and that all of it is told."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from tests.nvml.fake import FakeNvml
from tests.programs import wait_for
from tests.proof.stage.driver import IDLE_WATTS, Driver, Work, driver
from tests.proof.witness.testimony import Load, Lost, Mig, Power, Told

MODELS = ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB")


@pytest.fixture
def cards(tmp_path: Path) -> Iterator[Driver]:
    with FakeNvml(tmp_path / "state") as nvml, driver(nvml, MODELS) as made:
        yield made


@pytest.fixture
def told(cards: Driver) -> list[Told]:
    """Whatever is told from now on."""
    found: list[Told] = []
    cards.tell = found.append
    return found


def work(device: str, pid: int, *, seconds: float = 60.0) -> Work:
    until_s = time.monotonic() + seconds
    return Work(device=device, pid=pid, node_pid=pid, sm=40, memory_mib=512, watts=300, until_s=until_s)


def test_a_process_works_until_it_ends(cards: Driver, told: list[Told]) -> None:
    """The driver drops it within a moment, and what the card draws falls."""
    card = cards.cards[0]
    with subprocess.Popen(["sleep", "60"]) as process:
        cards.begin(work(card.uuid, process.pid))
        with cards.nvml.change() as state:
            row = state.gpus[0]
            assert (row.process_count, row.processes[0].pid, row.processes[0].sm_percent) == (1, process.pid, 40)
            assert (row.busy_percent, row.power_mw) == (40, (IDLE_WATTS + 300) * 1000)
        process.kill()
    wait_for("it is dropped", cards.idle)
    with cards.nvml.change() as state:
        assert (state.gpus[0].process_count, state.gpus[0].busy_percent) == (0, 0)
    loads = [each for each in told if isinstance(each, Load)]
    assert [(each.device, each.pid, each.over) for each in loads] == [
        (card.uuid, process.pid, False),
        (card.uuid, process.pid, True),
    ]
    assert [each.watts for each in told if isinstance(each, Power)] == [IDLE_WATTS + 300, IDLE_WATTS]


def test_one_ends_beside_another(cards: Driver) -> None:
    """Its seconds are over; the other's entry stays."""
    uuid = cards.cards[0].uuid
    with subprocess.Popen(["sleep", "60"]) as brief, subprocess.Popen(["sleep", "60"]) as long:
        cards.begin(work(uuid, brief.pid, seconds=0.2))
        cards.begin(work(uuid, long.pid))

        def pids() -> list[int]:
            with cards.nvml.change() as state:
                row = state.gpus[0]
                return [row.processes[i].pid for i in range(row.process_count)]

        assert pids() == [brief.pid, long.pid]
        wait_for("the first is over", lambda: pids() == [long.pid])
        brief.kill()
        long.kill()


def test_a_card_that_is_cut_anew_keeps_what_is_still_wanted(cards: Driver, told: list[Told]) -> None:
    """The instance of a profile that is wanted again is the same; whole again it is out of MIG mode."""
    cards.cut(1, ("3g.40gb", "2g.20gb"))
    kept = next(each.uuid for each in cards.cards[1].instances)
    cards.cut(1, ("1g.10gb", "3g.40gb"))
    cards.cut(1, ("3g.40gb", "1g.10gb"))  # which it is
    assert cards.profiles(1) == ["1g.10gb", "3g.40gb"]
    cards.cut(1, ())
    cuts = [each.slices for each in told if isinstance(each, Mig)]
    assert [None if cut is None else [(each.profile, each.part) for each in cut] for cut in cuts] == [
        [("3g.40gb", Fraction(3, 7)), ("2g.20gb", Fraction(2, 7))],
        [("3g.40gb", Fraction(3, 7)), ("1g.10gb", Fraction(1, 7))],
        None,
    ]
    assert [cut[0].device for cut in cuts if cut] == [kept, kept]
    with cards.nvml.change() as state:
        assert (state.gpus[1].mig_current, [slot.present for slot in state.gpus[1].slots]) == (0, [0] * 8)


def test_energy_goes_on_from_where_it_stood(cards: Driver) -> None:
    """Whatever the card draws: the counter never jumps."""
    with subprocess.Popen(["sleep", "60"]) as process:
        with cards.nvml.change() as state:
            before_mj, began_ns = state.gpus[0].energy_mj, state.gpus[0].energy_ns
        time.sleep(0.3)
        cards.begin(work(cards.cards[0].uuid, process.pid))
        with cards.nvml.change() as state:
            passed_ns = state.gpus[0].energy_ns - began_ns
            assert state.gpus[0].energy_mj == before_mj + IDLE_WATTS * 1000 * passed_ns // 10**9
        process.kill()


def test_a_lost_card_is_told(cards: Driver, told: list[Told]) -> None:
    cards.lose(1)
    assert (cards.lost(0), cards.lost(1)) == (False, True)
    cards.recover(1)
    assert not cards.lost(1)
    assert [(each.gpu, each.lost) for each in told if isinstance(each, Lost)] == [
        (cards.cards[1].uuid, True),
        (cards.cards[1].uuid, False),
    ]
