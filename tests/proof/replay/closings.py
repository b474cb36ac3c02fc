"""Trials in which a month ends in a recording and is closed, and what comes after: corrections and adjustments."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.proof.replay.laws import misgiven, netted, rows, unbalanced, without_sums
from tests.proof.replay.recording import Recording
from tests.proof.replay.replay import Run, replaying
from tests.proof.replay.trial import HOUR_S, instant_of, months_of, unix_ms, unlike_statements, unlike_witness

LATE_S = 80 * HOUR_S  # who has not said by then what ran in an hour is not waited for when its month is closed
# Where in a recording a border falls, and where the wire is cut before it.
BORDER, CUT = 0.75, 0.55
# Between which a month may end in it, and between what the wire may be cut, if chance has its way.
ENDS, CUT_FROM, CUT_BEFORE = (0.4, 0.95), 0.2, 0.1
# Who is given what back, and for how long.
PAYER, GIVEN_MICROS, GIVEN_FOR_MS = "rd-001", 12_345, 10_000
# Differences that no correction mends: what is closed is corrected where its money, time or account is another.
MEASURED = frozenset({"busy", "energy", "second meter"})


async def closed_between(recording: Recording, folder: Path, *, border: str, timezone: str = "UTC") -> list[str]:
    """A month ends in it and is closed, and what ran in its last minute comes late: corrections sum to the truth."""
    moved = recording.so_that(instant_of(recording, BORDER), unix_ms(border))
    first, second = months_of(moved, timezone)
    async with replaying(moved, folder, timezone=timezone) as run:
        closed, lines = await _closed(run, first, cut_ms=instant_of(moved, CUT))
        await _come_late(run)
        differences = [
            *_not_corrected(moved, lines, run.export(second)),
            *unlike_statements(run, (first, second)),
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
    moved = recording.so_that(instant_of(recording, falls), unix_ms(border))
    first, second = months_of(moved, timezone)
    differences: list[str] = []
    async with replaying(moved, folder, timezone=timezone) as run:
        cut_ms = instant_of(moved, dice.uniform(CUT_FROM, falls - CUT_BEFORE))
        closed, lines = await _closed(run, first, cut_ms=cut_ms)
        about_ms = instant_of(moved, dice.random())
        steps = [_come_late, partial(_give_back, from_ms=about_ms)]
        for step in dice.sample(steps, len(steps)):
            await step(run)
            if run.statement(first) != closed or run.export(first) != lines:
                differences.append(f"{first} is closed, and has changed")
        late, given = without_sums(run.export(second))
        differences += [
            *_not_corrected(moved, lines, late), *unlike_statements(run, (first, second)),
            *unbalanced(first, lines), *unbalanced(second, run.export(second)),
            *misgiven(given, PAYER, GIVEN_MICROS, first if about_ms < unix_ms(border) else ""),
        ]  # fmt: skip
    return differences


async def _closed(run: Run, month: str, *, cut_ms: int) -> tuple[str, str]:
    """Play all of it, though nothing is pushed from an instant on, and close the month: its statement and lines."""
    await run.play(cut_ms)
    await run.door.close()
    await run.play()
    await run.settle()
    await run.kill_agent()
    await run.wait(LATE_S)
    run.rate()
    run.close_month(month)
    return run.statement(month), run.export(month)


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
    yield from unlike_witness(moved, net.text, but=MEASURED)
