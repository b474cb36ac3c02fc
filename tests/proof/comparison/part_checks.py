"""Each holder's line is of the part of the card that it was: 1/N of a device of N shares, or 1/k while k are held."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction

from tests.proof.comparison.case import Case, Difference, line_text, name
from tests.proof.comparison.export import HELD, Line
from tests.proof.comparison.matching import Match
from tests.proof.witness.lives import clock
from tests.proof.witness.sharing import is_active
from tests.proof.witness.testimony import Card

CHANGED_MS = 5_000  # so long after a plugin began anew an agent knows into how many shares a device is cut


def check_parts(case: Case) -> Iterator[Difference]:
    """By the policy that was told."""
    if is_active(case.testimony.told):
        yield from _check_active(case)
        return
    astray = {id(match) for match, _ in case.matching.astray}
    for match in case.matching.matches:
        if id(match) not in astray:
            yield from _check_configured(match)


def _check_configured(match: Match) -> Iterator[Difference]:
    for line in match.lines:
        parts = {
            each.part
            for each in match.stay.holds
            if each.from_ms - CHANGED_MS < line.until_ms and line.from_ms < each.until_ms + CHANGED_MS
        }
        if line.ms and per_share(line) not in parts:
            yield _differs(line, f"{' or '.join(str(part) for part in sorted(parts))} of the card")


def _check_active(case: Case) -> Iterator[Difference]:
    """At every instant, by how many are on the device then: their lines say it, and other checks that they were.

    That nothing of the device is idle meanwhile is a matter of the card's sum.
    """
    wholes = {each.gpu: Fraction(1) for each in case.testimony.told if isinstance(each, Card)}
    wholes |= {hold.device: hold.whole for hold in case.testimony.holds}
    on: dict[str, list[Line]] = {}
    for line in case.lines:
        if line.kind in HELD and line.ms and line.device in wholes:
            on.setdefault(line.device, []).append(line)
    for device, lines in on.items():
        yield from _check_device(wholes[device], lines)


def _check_device(whole: Fraction, lines: Sequence[Line]) -> Iterator[Difference]:
    said: set[int] = set()
    borders = sorted({at_ms for line in lines for at_ms in (line.from_ms, line.until_ms)})
    for a, b in itertools.pairwise(borders):
        here = [line for line in lines if line.from_ms <= a < line.until_ms]
        held = {share for line in here for share in line.shares or (0,)}
        for line in here:
            if per_share(line) != whole / len(held) and id(line) not in said:
                said.add(id(line))
                when = f"from {clock(a)} to {clock(b)}, when {len(held)} of its shares were held"
                yield _differs(line, f"{whole / len(held)} of the card {when}")


def per_share(line: Line) -> Fraction:
    """Of the card."""
    return line.card_ms / line.ms / max(1, len(line.shares))


def _differs(line: Line, witness: str) -> Difference:
    return Difference(
        kind="part", subject=name(line.holder), witness=witness,
        product=f"{line.card_ms / line.ms} of it: {line_text(line)}",
    )  # fmt: skip
