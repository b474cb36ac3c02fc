"""What a recording is put through: played as it was, or shifted so that borders fall in it. Each says what is wrong.

    differences = await TRIALS["a month ends in Berlin"](recording, folder)

The bill of the real run, the witness's reckoning and the laws of `laws.py` are what a replay is held against. Nothing
here knows how the product comes to its figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.proof.comparison.comparison import compare
from tests.proof.comparison.export import read
from tests.proof.replay.closings import adjusted_between, closed_between
from tests.proof.replay.heard_witness import testify
from tests.proof.replay.laws import changed_by_shift, misdated, unlike
from tests.proof.replay.recording import NAMES, Recording
from tests.proof.replay.replay import Run, replaying
from tests.proof.replay.rewritten_trials import forgotten, guaranteed, in_four_shares, lost
from tests.proof.replay.trial import (
    HOUR_S,
    Trial,
    instant_of,
    months_of,
    unix_ms,
    unlike_statements,
    unlike_witness,
)
from tests.proof.witness.testimony import Card

MIDDLE = 0.5
# Between which its clock is wrong, and for how long a beat's sight holds.
STEP, BACK, BEATS_MS = 0.35, 0.8, 3_000


async def as_it_was(recording: Recording, folder: Path) -> list[str]:
    """The same hour: the bill is what the witness reckons, and that of the real run, line by line."""
    async with replaying(recording, folder) as run:
        await run.play()
        await run.settle()
        text, strays = run.export(months_of(recording, "UTC")[0]), run.strays()
    return [*unlike_witness(recording, text, strays), *unlike(recording.billed.export, text)]


async def killed_at_every_turn(recording: Recording, folder: Path) -> list[str]:
    """After each tenth beat the agent is killed, and another goes on from its disk: nothing is lost, or moves."""
    async with replaying(recording, folder) as run:
        for beat in recording.beats[10::10]:
            await run.play(beat.at_ms)
            await run.kill_agent()
        await run.play()
        await run.settle()
        text = run.export(months_of(recording, "UTC")[0])
    return list(unlike(recording.billed.export, text))


async def across(
    recording: Recording,
    folder: Path,
    *,
    border: str,
    timezone: str = "UTC",
    part: float = MIDDLE,
    witnessed: bool = True,
) -> list[str]:
    """A border falls into it, all its hours are closed: only the cuts are new, and each line is where its time is.

    part: where in the recording, 0 to 1
    witnessed: money goes from the hour's start, as the witness reckons it, and not from a midnight in it
    """
    moved = recording.so_that(instant_of(recording, part), unix_ms(border))
    async with replaying(moved, folder, timezone=timezone) as run:
        await run.play()
        await run.settle()
        await run.kill_agent()
        await run.wait(2 * HOUR_S)
        run.rate()
        text = _all(run, moved, timezone)
        differences = list(unlike_statements(run, months_of(moved, timezone)))
    differences += [*_unlike_unshifted(recording, moved, text), *misdated(text, timezone)]
    return [*differences, *unlike_witness(moved, text)] if witnessed else differences


async def stepping(recording: Recording, folder: Path, *, ahead_ms: int) -> list[str]:
    """The node's clock steps, and is put right a while later: every card is still one card, at every instant.

    What is billed is off by no more than what nobody can know: the two steps, and the beats at their ends.
    """
    async with replaying(recording, folder) as run:
        run.steps += [(instant_of(recording, STEP), ahead_ms), (instant_of(recording, BACK), 0)]
        await run.play()
        await run.settle()
        text = run.export(months_of(recording, "UTC")[0])
    found = compare(testify(recording), text)
    differences = [str(each) for each in found.differences if each.kind == "conservation"]
    cards = sum(isinstance(each, Card) for each in recording.told)
    unknown_s = cards * 2 * (abs(ahead_ms) + BEATS_MS) / 1000
    for account, truly in found.witness.items():
        off_s = abs(found.product[account].gpu_s - truly.gpu_s) if account in found.product else truly.gpu_s
        if off_s > unknown_s:
            differences.append(f"{account}: {float(off_s)} s off, by steps of {ahead_ms} ms")
    return differences


def _unlike_unshifted(recording: Recording, moved: Recording, text: str) -> Iterator[str]:
    """As far as the recording goes: what was after it is another story."""
    by_ms = moved.began_ms - recording.began_ms
    return changed_by_shift(
        read(recording.billed.export), [line for line in read(text) if line.from_ms < moved.ended_ms], by_ms
    )


def _all(run: Run, moved: Recording, timezone: str) -> str:
    """Of all months that it lies in, as one export."""
    head, *rest = (run.export(month) for month in months_of(moved, timezone))
    return head + "".join(text.partition("\r\n")[2] for text in rest)


BERLIN, KOLKATA = "Europe/Berlin", "Asia/Kolkata"
# In this order, so that most faults are found soon.
TRIALS: dict[str, Trial] = {
    "as it was": as_it_was,
    "devices are shared by four": in_four_shares,
    "the kubelet forgets for two beats": forgotten,
    "cards answer no more for eight beats": lost,
    "cards are guaranteed for a while": guaranteed,
    "an hour ends": partial(across, border="2026-11-17T10:00:00Z"),
    "a month is closed before its end is known": partial(closed_between, border="2026-11-01T00:00:00Z"),
    "a month ends in Kolkata, in the middle of an hour": partial(
        across, border="2026-10-31T18:30:00Z", timezone=KOLKATA, witnessed=False
    ),
    "a month ends": partial(across, border="2026-11-01T00:00:00Z"),
    "a month ends in Berlin": partial(across, border="2026-10-31T23:00:00Z", timezone=BERLIN),
    "a month is closed before its end is known, in Berlin": partial(
        closed_between, border="2026-10-31T23:00:00Z", timezone=BERLIN
    ),
    "a month is closed, then corrected and adjusted": partial(
        adjusted_between, border="2026-11-01T00:00:00Z", chance=1
    ),
    "a month is closed, then corrected and adjusted, in Berlin": partial(
        adjusted_between, border="2026-10-31T23:00:00Z", chance=2, timezone=BERLIN
    ),
    "clocks go forward in Berlin": partial(across, border="2026-03-29T01:00:00Z", timezone=BERLIN),
    "the short day ends in Berlin": partial(across, border="2026-03-29T22:00:00Z", timezone=BERLIN),
    "clocks go back in Berlin": partial(across, border="2026-10-25T01:00:00Z", timezone=BERLIN),
    "the long day ends in Berlin": partial(across, border="2026-10-25T23:00:00Z", timezone=BERLIN),
    "the agent is killed at every turn": killed_at_every_turn,
    "the node's clock is seven seconds ahead for a while": partial(stepping, ahead_ms=7_000),
    "the node's clock is two seconds ahead for a while": partial(stepping, ahead_ms=2_000),
    "the node's clock is seven seconds behind for a while": partial(stepping, ahead_ms=-7_000),
}
# A recording in which the name of a card means a card first and then a share of it has no unit to be guaranteed.
UNFIT = {("silicon", "devices are shared by four"), ("silicon", "cards are guaranteed for a while")}
PLAYED = [(name, what) for what in TRIALS for name in NAMES if (name, what) not in UNFIT]
