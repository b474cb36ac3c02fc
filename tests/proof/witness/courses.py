"""How busy holders were and what their cards drew, from instant to instant, by what was done to the cards.

Busy time is that of the processes on the device. A card's energy follows the rule of docs/metrics.md: while holders
are busy it is theirs, each by how busy it was; the rest goes by what each holds; all goes by that where the driver
cannot say how busy one of them is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tests.proof.witness.testimony import Hold, Load, Lost, Power, Told

MIB = 1 << 20
SECOND_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Of one hold, while nothing changes.

    busy    how much of the device was busy for the holder, 0 to 1, divided among its shares of it
    memory  MiB that its processes use there, divided likewise
    watts   its part of what the card drew
    told    the driver could tell how busy it was: nobody else was on the device, and the card answered
    """

    from_ms: int
    until_ms: int
    busy: Fraction
    memory: Fraction
    watts: Fraction
    told: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """A card between two changes. loads: what processes there do, by device."""

    from_ms: int
    until_ms: int
    watts: int
    lost: bool
    loads: dict[str, tuple[Load, ...]]
    holds: tuple[int, ...]


def courses(holds: Sequence[Hold], told: Iterable[Told]) -> list[tuple[Course, ...]]:
    """Of each hold, in order of time."""
    told = sorted(told, key=lambda each: each.at_ms)
    found: list[list[Course]] = [[] for _ in holds]
    for gpu in {hold.gpu for hold in holds}:
        for moment in _moments(gpu, holds, told):
            for at, course in _share_out(moment, holds):
                found[at].append(course)
    return [tuple(each) for each in found]


def busy_ms(course: Iterable[Course], from_ms: int, until_ms: int) -> Fraction:
    return sum((each.busy * ms for each, ms in _within(course, from_ms, until_ms)), Fraction(0))


def energy_mj(course: Iterable[Course], from_ms: int, until_ms: int) -> Fraction:
    """A watt for a millisecond is a millijoule."""
    return sum((each.watts * ms for each, ms in _within(course, from_ms, until_ms)), Fraction(0))


def memory_byte_s(course: Iterable[Course], from_ms: int, until_ms: int) -> Fraction:
    return sum((each.memory * MIB * ms / SECOND_MS for each, ms in _within(course, from_ms, until_ms)), Fraction(0))


def told_all_along(course: Iterable[Course], from_ms: int, until_ms: int) -> bool:
    return all(each.told for each, _ in _within(course, from_ms, until_ms))


def swings(course: Iterable[Course], what: str, from_ms: int, until_ms: int) -> tuple[Fraction, Fraction]:
    """By how much `what` (busy, watts or memory) rose in all, and fell, within a span and at its ends."""
    values = [getattr(each, what) for each, _ in _within(course, from_ms, until_ms)]
    steps = [after - before for before, after in itertools.pairwise(values)]
    return _sum(step for step in steps if step > 0), _sum(-step for step in steps if step < 0)


def _sum(values: Iterable[Fraction]) -> Fraction:
    return sum(values, Fraction(0))


def _within(course: Iterable[Course], from_ms: int, until_ms: int) -> Iterator[tuple[Course, int]]:
    for each in course:
        ms = min(each.until_ms, until_ms) - max(each.from_ms, from_ms)
        if ms > 0:
            yield each, ms


def _moments(gpu: str, holds: Sequence[Hold], told: Sequence[Told]) -> Iterator[_Moment]:
    """A card from the first hold of it to the last, cut wherever something changes."""
    mine = [at for at, hold in enumerate(holds) if hold.gpu == gpu]
    devices = {gpu, *(holds[at].device for at in mine)}
    changes = [each for each in told if _is_of(each, gpu, devices)]
    borders = {each.at_ms for each in changes}
    borders |= {border for at in mine for border in (holds[at].from_ms, holds[at].until_ms)}
    running: dict[tuple[str, int], Load] = {}
    watts, lost = 0, False
    coming = iter([*changes, None])
    change = next(coming)
    for from_ms, until_ms in itertools.pairwise(sorted(borders)):
        while change is not None and change.at_ms <= from_ms:
            if isinstance(change, Load):
                running.pop((change.device, change.pid), None)
                if not change.over:
                    running[change.device, change.pid] = change
            elif isinstance(change, Power):
                watts = change.watts
            elif isinstance(change, Lost):
                lost = change.lost
            change = next(coming)
        loads: dict[str, tuple[Load, ...]] = {}
        for load in running.values():
            loads[load.device] = (*loads.get(load.device, ()), load)
        here = tuple(at for at in mine if holds[at].from_ms <= from_ms < holds[at].until_ms)
        yield _Moment(from_ms=from_ms, until_ms=until_ms, watts=watts, lost=lost, loads=loads, holds=here)


def _is_of(told: Told, gpu: str, devices: set[str]) -> bool:
    if isinstance(told, Load):
        return told.device in devices
    return isinstance(told, Power | Lost) and told.gpu == gpu


def _share_out(moment: _Moment, holds: Sequence[Hold]) -> Iterator[tuple[int, Course]]:
    """Each hold's part of the moment."""
    busy, memory, told = {}, {}, {}
    for at in moment.holds:
        loads = moment.loads.get(holds[at].device, ())
        beside = [holds[other] for other in moment.holds if holds[other].device == holds[at].device]
        shares = sum(other.holder == holds[at].holder for other in beside)
        busy[at] = _busy(holds[at], loads) / shares
        memory[at] = Fraction(sum(load.memory_mib for load in _own(holds[at], loads)), shares)
        told[at] = not moment.lost and _can_be_told(holds[at], loads, beside)
    by_use = all(told.values())
    worked = {at: holds[at].whole * busy[at] for at in moment.holds}
    rest = max(Fraction(0), 1 - sum(worked.values(), Fraction(0)))
    for at in moment.holds:
        part = worked[at] + rest * holds[at].drawn if by_use else holds[at].drawn
        yield (
            at,
            Course(
                from_ms=moment.from_ms,
                until_ms=moment.until_ms,
                busy=busy[at],
                memory=memory[at],
                watts=part * moment.watts,
                told=told[at],
            ),
        )


def _busy(hold: Hold, loads: Iterable[Load]) -> Fraction:
    """Of the device, for all of the container's shares of it together."""
    own = (Fraction(load.sm_percent or 0, 100) for load in _own(hold, loads))
    return min(Fraction(1), sum(own, Fraction(0)))


def _own(hold: Hold, loads: Iterable[Load]) -> Iterator[Load]:
    return (load for load in loads if (load.namespace, load.pod, load.container) == hold.holder)


def _can_be_told(hold: Hold, loads: Sequence[Load], beside: Iterable[Hold]) -> bool:
    """Only of one container that is alone on its device, and where no stranger works."""
    holders = {other.holder for other in beside}
    workers = {(load.namespace, load.pod) for load in loads}
    known = all(load.sm_percent is not None for load in loads)
    return holders == {hold.holder} and workers <= {(hold.namespace, hold.pod)} and known
