"""What a recording is put through: played as it was, or shifted so that borders fall in it. Each says what is wrong.

    differences = await TRIALS["a month ends in Berlin"](recording, folder)

The bill of the real run, the witness's reckoning and the laws of `laws.py` are what a replay is held against. Nothing
here knows how the product comes to its figures.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.proof.comparison.comparison import compare
from tests.proof.comparison.export import read
from tests.proof.comparison.strays import Stray
from tests.proof.replay.heard_witness import testify
from tests.proof.replay.laws import (
    changed_by_shift,
    misdated,
    misgiven,
    netted,
    rows,
    unbalanced,
    unlike,
    unlike_statement,
    without_sums,
)
from tests.proof.replay.recording import Recording
from tests.proof.replay.replay import Run, replaying
from tests.proof.witness.testimony import Card

Trial = Callable[[Recording, Path], Coroutine[Any, Any, list[str]]]
HOUR_S = 3600.0
LATE_S = 80 * HOUR_S  # who has not said by then what ran in an hour is not waited for when its month is closed
# Where in a recording a border falls, and where the wire is cut before it.
BORDER, CUT = 0.75, 0.55
MIDDLE = 0.5
# Between which a month may end in it, and between what the wire may be cut, if chance has its way.
ENDS, CUT_FROM, CUT_BEFORE = (0.4, 0.95), 0.2, 0.1
# Who is given what back, and for how long.
PAYER, GIVEN_MICROS, GIVEN_FOR_MS = "rd-001", 12_345, 10_000
# Between which its clock is wrong, and for how long a beat's sight holds.
STEP, BACK, BEATS_MS = 0.35, 0.8, 3_000
# Differences that no correction mends: what is closed is corrected where its money, time or account is another.
MEASURED = frozenset({"busy", "energy", "second meter"})


async def as_it_was(recording: Recording, folder: Path) -> list[str]:
    """The same hour: the bill is what the witness reckons, and that of the real run, line by line."""
    async with replaying(recording, folder) as run:
        await run.play()
        await run.settle()
        text, strays = run.export(_months(recording, "UTC")[0]), run.strays()
    return [*_unlike_witness(recording, text, strays), *unlike(recording.billed.export, text)]


async def killed_at_every_turn(recording: Recording, folder: Path) -> list[str]:
    """After each tenth beat the agent is killed, and another goes on from its disk: nothing is lost, or moves."""
    async with replaying(recording, folder) as run:
        for beat in recording.beats[10::10]:
            await run.play(beat.at_ms)
            await run.kill_agent()
        await run.play()
        await run.settle()
        text = run.export(_months(recording, "UTC")[0])
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
    moved = recording.so_that(_at(recording, part), _ms(border))
    async with replaying(moved, folder, timezone=timezone) as run:
        await run.play()
        await run.settle()
        await run.kill_agent()
        await run.wait(2 * HOUR_S)
        run.rate()
        text = _all(run, moved, timezone)
        differences = list(_unlike_statements(run, _months(moved, timezone)))
    differences += [*_unlike_unshifted(recording, moved, text), *misdated(text, timezone)]
    return [*differences, *_unlike_witness(moved, text)] if witnessed else differences


async def stepping(recording: Recording, folder: Path, *, ahead_ms: int) -> list[str]:
    """The node's clock steps, and is put right a while later: every card is still one card, at every instant.

    What is billed is off by no more than what nobody can know: the two steps, and the beats at their ends.
    """
    async with replaying(recording, folder) as run:
        run.steps += [(_at(recording, STEP), ahead_ms), (_at(recording, BACK), 0)]
        await run.play()
        await run.settle()
        text = run.export(_months(recording, "UTC")[0])
    found = compare(testify(recording), text)
    differences = [str(each) for each in found.differences if each.kind == "conservation"]
    cards = sum(isinstance(each, Card) for each in recording.told)
    unknown_s = cards * 2 * (abs(ahead_ms) + BEATS_MS) / 1000
    for account, truly in found.witness.items():
        off_s = abs(found.product[account].gpu_s - truly.gpu_s) if account in found.product else truly.gpu_s
        if off_s > unknown_s:
            differences.append(f"{account}: {float(off_s)} s off, by steps of {ahead_ms} ms")
    return differences


async def closed_between(recording: Recording, folder: Path, *, border: str, timezone: str = "UTC") -> list[str]:
    """A month ends in it and is closed, and what ran in its last minute comes late: corrections sum to the truth."""
    moved = recording.so_that(_at(recording, BORDER), _ms(border))
    first, second = _months(moved, timezone)
    async with replaying(moved, folder, timezone=timezone) as run:
        await run.play(_at(moved, CUT))
        await run.door.close()
        await run.play()
        await run.settle()
        await run.kill_agent()
        await run.wait(LATE_S)
        run.rate()
        run.close_month(first)
        closed, lines = run.statement(first), run.export(first)
        await _come_late(run)
        differences = [
            *_not_corrected(moved, lines, run.export(second)),
            *_unlike_statements(run, (first, second)),
        ]
        if run.statement(first) != closed or run.export(first) != lines:
            differences.append(f"{first} is closed, and has changed")
    return differences


async def adjusted_between(
    recording: Recording, folder: Path, *, border: str, chance: int, timezone: str = "UTC"
) -> list[str]:
    """A month ends in it and is closed; then, in any order, what ran comes late and somebody is given a sum back.

    chance: says at which instants the month ends, the wire is cut and the sum is about, and what comes first. What is
    closed keeps its bytes at every step; the sum is beside the bill, and each month balances.
    """
    dice = random.Random(f"{chance} {recording.head.name}")
    falls = dice.uniform(*ENDS)
    moved = recording.so_that(_at(recording, falls), _ms(border))
    first, second = _months(moved, timezone)
    differences: list[str] = []
    async with replaying(moved, folder, timezone=timezone) as run:
        await run.play(_at(moved, dice.uniform(CUT_FROM, falls - CUT_BEFORE)))
        await run.door.close()
        await run.play()
        await run.settle()
        await run.kill_agent()
        await run.wait(LATE_S)
        run.rate()
        run.close_month(first)
        closed, lines = run.statement(first), run.export(first)
        about_ms = _at(moved, dice.random())
        steps = [_come_late, partial(_give_back, from_ms=about_ms)]
        for step in dice.sample(steps, len(steps)):
            await step(run)
            if run.statement(first) != closed or run.export(first) != lines:
                differences.append(f"{first} is closed, and has changed")
        late, given = without_sums(run.export(second))
        differences += [
            *_not_corrected(moved, lines, late), *_unlike_statements(run, (first, second)),
            *unbalanced(first, lines), *unbalanced(second, run.export(second)),
            *misgiven(given, PAYER, GIVEN_MICROS, first if about_ms < _ms(border) else ""),
        ]  # fmt: skip
    return differences


async def _come_late(run: Run) -> None:
    """The agent pushes what it could not."""
    await run.door.open()
    run.start_agent()
    await run.settle()
    run.rate()


async def _give_back(run: Run, *, from_ms: int) -> None:
    run.credit(PAYER, from_ms, from_ms + GIVEN_FOR_MS, GIVEN_MICROS)
    run.rate()


def _not_corrected(moved: Recording, closed: str, open_: str) -> Iterator[str]:
    """Where a closed month and its corrections in an open one are together something else than what ran."""
    net = netted(closed, open_)
    yield from net.wrong
    if not net.restated or (rows(closed) and not net.reversals):
        yield f"what came late corrected nothing: {net.reversals} reversals, {net.restated} restated"
    yield from _unlike_witness(moved, net.text, but=MEASURED)


def _unlike_statements(run: Run, months: Iterable[str]) -> Iterator[str]:
    for month in months:
        yield from unlike_statement(run.statement(month), run.export(month, provisional=False))


def _unlike_unshifted(recording: Recording, moved: Recording, text: str) -> Iterator[str]:
    """As far as the recording goes: what was after it is another story."""
    by_ms = moved.began_ms - recording.began_ms
    return changed_by_shift(
        read(recording.billed.export), [line for line in read(text) if line.from_ms < moved.ended_ms], by_ms
    )


def _unlike_witness(
    recording: Recording, text: str, strays: Mapping[str, Stray] | None = None, *, but: frozenset[str] = frozenset()
) -> Iterator[str]:
    found = compare(testify(recording), text, strays).differences
    return (f"by the witness: {each}" for each in found if each.kind not in but)


def _all(run: Run, moved: Recording, timezone: str) -> str:
    """Of all months that it lies in, as one export."""
    head, *rest = (run.export(month) for month in _months(moved, timezone))
    return head + "".join(text.partition("\r\n")[2] for text in rest)


def _months(recording: Recording, timezone: str) -> list[str]:
    zone = ZoneInfo(timezone)
    ends = (recording.began_ms, recording.ended_ms)
    return sorted({f"{datetime.fromtimestamp(at_ms / 1000, zone):%Y-%m}" for at_ms in ends})


def _at(recording: Recording, part: float) -> int:
    return recording.began_ms + round((recording.ended_ms - recording.began_ms) * part)


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


BERLIN, KOLKATA = "Europe/Berlin", "Asia/Kolkata"
# In this order, so that most faults are found soon.
TRIALS: dict[str, Trial] = {
    "as it was": as_it_was,
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
