"""Which line of the export is about which stay: a holder's unbroken time on one slot, as the witness saw it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.proof.comparison.export import HELD, Line
from tests.proof.witness.lives import clock
from tests.proof.witness.testimony import Hold

API = "api"  # evidence that begins so: no agent saw it
Key = tuple[tuple[str, str, str], tuple[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """holds: of one holder on one slot, one after the other. first: the number of the first of them."""

    holds: tuple[Hold, ...]
    numbers: tuple[int, ...]

    @property
    def from_ms(self) -> int:
        return self.holds[0].from_ms

    @property
    def until_ms(self) -> int:
        return self.holds[-1].until_ms

    @property
    def slot(self) -> tuple[str, int]:
        return self.holds[0].slot

    @property
    def holder(self) -> tuple[str, str, str]:
        return self.holds[0].holder

    def __str__(self) -> str:
        device, share = self.slot
        seen = "; ".join(self.holds[0].evidence)
        return f"{clock(self.from_ms)} to {clock(self.until_ms)} on {device} share {share} ({seen})"


@dataclass(slots=True)
class Match:
    """A stay and its lines, in order of time. guessed: no agent saw the pod, and its device is guessed."""

    stay: Stay
    lines: list[Line]
    guessed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """matches: of all stays. astray: lines on another device than their holder's. loose: lines of nobody's time."""

    matches: tuple[Match, ...]
    astray: tuple[tuple[Match, Line], ...]
    loose: tuple[Line, ...]


def match(holds: Sequence[Hold], lines: Iterable[Line]) -> Matching:
    """lines: those of holders, in any order."""
    matches = [Match(stay, []) for stay in stays(holds)]
    by_key: dict[Key, list[Match]] = {}
    by_holder: dict[tuple[str, str, str], list[Match]] = {}
    for each in matches:
        by_key.setdefault((each.stay.holder, each.stay.slot), []).append(each)
        by_holder.setdefault(each.stay.holder, []).append(each)
    left: list[tuple[Line, int]] = []
    for line in sorted((line for line in lines if line.kind in HELD), key=lambda line: line.from_ms):
        for share in line.shares or (0,):
            mine = _nearest(line, by_key.get((line.holder, (line.device, share)), ()))
            if mine is None:
                left.append((line, share))
            else:
                mine.lines.append(line)
    astray, loose = [], []
    for line, _ in left:
        mine = _nearest(line, [each for each in by_holder.get(line.holder, ()) if _is_free(each, line)])
        if mine is None:
            loose.append(line)
        elif _may_be_guess(mine, line):
            mine.guessed = True
            mine.lines.append(line)
        else:
            astray.append((mine, line))
    return Matching(matches=tuple(matches), astray=tuple(astray), loose=tuple(loose))


def stays(holds: Sequence[Hold]) -> list[Stay]:
    """In order of time."""
    open_: dict[tuple[str, Key], list[int]] = {}
    found: list[list[int]] = []
    for number, hold in sorted(enumerate(holds), key=lambda each: each[1].from_ms):
        key = (hold.uid, (hold.holder, hold.slot))
        before = open_.get(key)
        if before is not None and holds[before[-1]].until_ms == hold.from_ms:
            before.append(number)
        else:
            open_[key] = [number]
            found.append(open_[key])
    return [Stay(holds=tuple(holds[at] for at in each), numbers=tuple(each)) for each in found]


def _nearest(line: Line, among: Iterable[Match]) -> Match | None:
    """Whose time the line shares most of."""
    shared = [(overlap_ms(line, each.stay), number, each) for number, each in enumerate(among)]
    best = max(shared, key=lambda each: (each[0], -each[1]), default=None)
    return best[2] if best is not None and best[0] > 0 else None


def overlap_ms(line: Line, stay: Stay) -> int:
    return min(line.until_ms, stay.until_ms) - max(line.from_ms, stay.from_ms)


def _is_free(match: Match, line: Line) -> bool:
    """It has no line of its own at that time."""
    return all(each.device == line.device or each.until_ms <= line.from_ms or line.until_ms <= each.from_ms
               for each in match.lines)  # fmt: skip


def _may_be_guess(match: Match, line: Line) -> bool:
    """By docs/architecture.md: the API alone knows the pod, and what is free costs the same.

    Where those who hold a device pay for all of it, that is before it is said how many they are.
    """
    hold = match.stay.holds[0]
    alike = line.card_ms == hold.part * line.ms * max(1, len(line.shares))
    if hold.offered is not None:
        alike = (line.model, line.profile) == (hold.model, hold.profile or "")
    return line.evidence.startswith(API) and alike and all(each.evidence.startswith(API) for each in match.lines)
