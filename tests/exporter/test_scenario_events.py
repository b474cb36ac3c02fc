"""What goes wrong on a simulated node, as the agent sees it."""

from __future__ import annotations

import pytest

from exporter.clock import ReplayClock
from exporter.scenario import Scenario, ScenarioError, load_scenario
from exporter.simulated import SimulatedNode

AT_MS = 1_790_000_000_000
AT = "2026-09-21T14:13:20Z"
GPUS = "{count: 2, model: NVIDIA H100 80GB HBM3, memory_mib: 81559}"


def scenario(event: str) -> Scenario:
    return load_scenario(f"gpus: [{GPUS}]\nevents: [{event}]", "lab.yaml")


async def raised(event: str, *reads_ms: int) -> list[list[tuple[int, int]]]:
    """(index of the card, XID) of each reading of a node that is read at these times."""
    clock = ReplayClock(reads_ms[0])
    node = SimulatedNode(scenario(event), clock=clock)
    found = []
    for at_ms in reads_ms:
        await clock.sleep((at_ms - clock.now_ms()) / 1000)
        reading = node.read()
        index = {gpu.uuid: gpu.index for gpu in (*reading.gpus, *reading.lost)}
        found.append([(index[xid.gpu], xid.xid) for xid in reading.xids])
        assert all((xid.device, xid.count) == (xid.gpu, 1) for xid in reading.xids)
    return found


async def test_an_xid_is_told_once_by_the_first_reading_after_it() -> None:
    event = f"{{at: {AT}, gpu: 1, xid: 31}}"
    assert await raised(event, AT_MS - 1, AT_MS, AT_MS + 1) == [[], [(1, 31)], []]
    assert await raised(event, AT_MS - 1, AT_MS + 600_000) == [[], [(1, 31)]]


async def test_an_agent_that_begins_later_does_not_hear_of_it() -> None:
    assert await raised(f"{{at: {AT}, gpu: 1, xid: 31}}", AT_MS, AT_MS + 1) == [[], []]


def test_a_card_that_raises_an_xid_by_itself_answers() -> None:
    node = SimulatedNode(scenario(f"{{at: {AT}, gpu: 1, xid: 31}}"), clock=ReplayClock(AT_MS))
    assert [gpu.index for gpu in node.read().gpus] == [0, 1]


async def test_a_lost_card_has_fallen_off_the_bus() -> None:
    event = f"{{at: {AT}, until: 2026-09-21T15:00:00Z, gpu: 0, lost: true}}"
    assert await raised(event, AT_MS - 1, AT_MS, AT_MS + 1) == [[], [(0, 79)], []]


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (f"{{at: {AT}, gpu: 1, xid: 0}}", "events[0].xid: 0: want a whole number from 1 to 999"),
        (f"{{at: {AT}, gpu: 2, xid: 31}}", "events[0].gpu: 2: want a whole number from 0 to 1"),
        (f"{{at: {AT}, xid: 31}}", "events[0].gpu: missing"),
        (f"{{at: {AT}, until: {AT}, gpu: 1, xid: 31}}", "events[0].until: "),
    ],
)
def test_a_bad_xid_names_its_key(event: str, problem: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        scenario(event)
    assert problem in str(caught.value)
