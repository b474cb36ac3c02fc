"""Recorded runs, one of a real card, replayed on a virtual clock, with borders wherever they hurt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from exporter import wire
from tests.cluster.pushed import bodies
from tests.proof.replay.recording import NAMES, load, object_of
from tests.proof.replay.replay import replaying
from tests.proof.replay.trials import PLAYED, TRIALS, across

MONTH = "2026-11"


@pytest.mark.parametrize(("name", "trial"), PLAYED)
async def test_a_recorded_run_comes_out_even(name: str, trial: str, tmp_path: Path) -> None:
    """As it was billed, as the witness reckons, and by the laws of every export."""
    assert await TRIALS[trial](load(name), tmp_path) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", [0.02, 0.98])
async def test_a_border_may_fall_anywhere(name: str, part: float, tmp_path: Path) -> None:
    """Right after the first beat, right before the last one."""
    differences = await across(
        load(name), tmp_path, border="2026-10-31T23:00:00Z", timezone="Europe/Berlin", part=part
    )
    assert differences == []


@pytest.mark.parametrize("name", NAMES)
async def test_the_account_is_that_of_the_real_agent(name: str, tmp_path: Path) -> None:
    """The last body that was pushed, to the digit: all but who wrote it, since when and how often."""
    recording = load(name)
    async with replaying(recording, tmp_path) as run:
        await run.play()
        await run.settle()
    played = [json.loads(wire.encode(body)) for _, body in bodies(tmp_path / "ledger.db", recording.head.node)]
    assert [_account(body) for body in played] == [_account(object_of(body)) for body in recording.billed.bodies]


async def test_two_replays_are_the_same(tmp_path: Path) -> None:
    """However fast the machine is, and wherever the recording is cut and played on."""
    recording = load("cards")
    exports = []
    for number, steps in enumerate((1, 7)):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with replaying(recording, folder) as run:
            length_ms = recording.ended_ms - recording.began_ms
            for step in range(1, steps):
                await run.play(recording.began_ms + length_ms * step // steps)
            await run.play()
            await run.settle()
            exports.append(run.export(MONTH))
    assert exports[0] == exports[1]


async def test_a_replay_sees_what_it_is_not_told(tmp_path: Path) -> None:
    """Had the agent died in the middle, the rest of the bill would be the second meter's and a gap: never nothing."""
    recording = load("cards")
    middle_ms = (recording.began_ms + recording.ended_ms) // 2
    async with replaying(recording, tmp_path) as run:
        await run.play(middle_ms)
        await run.settle()
        await run.kill_agent()
        await run.wait(7200)
        run.rate()
        text = run.export(MONTH)
    assert ",gap," in text
    assert text != recording.billed.export


def _account(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in ("instance", "started", "seq")}
