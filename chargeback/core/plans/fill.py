"""Filling: which holdings of a namespace are within its guarantee at which instant, and how much of it is not used.

Units are filled by (from, holder, node, device, share): who came first stays, and who comes later pays for what is
beyond. `from` is the begin of the unbroken holding within the rating interval.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chargeback.core.lines import Line
from chargeback.core.owners.owners import Owner
from chargeback.core.plans.book import PlanVersion
from chargeback.core.plans.key import PriceKey
from chargeback.core.plans.units import Unit, counts, is_of
from chargeback.core.rating.base_lines import shares_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A plan while neither it nor its owner changes. key, unit: None: not known, not priced; then why."""

    start_ms: int
    end_ms: int
    plan: PlanVersion
    guaranteed: int
    owner: Owner | None
    key: PriceKey | None
    unit: Unit | None
    why: str = ""

    def is_about(self, base: Line) -> bool:
        return base.resource == self.plan.resource and counts(base)

    def takes(self, base: Line) -> bool:
        """Whether a holding fills a unit. Where it is not known what a unit is, any of the resource does."""
        return self.is_about(base) and (self.key is None or is_of(base, self.key))


@dataclass(frozen=True, slots=True)
class Status:
    """What a share of a base line is to the plan. unit: what it fills; None: it is beyond the guarantee."""

    version: int
    unit: Unit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A status for some time. None: as without a plan."""

    start_ms: int
    end_ms: int
    status: Status | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unused:
    """So many units of a stretch that nobody fills."""

    stretch: Stretch
    start_ms: int
    end_ms: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """runs: of each base line, by share: all of its time, in order. unused: by plan, in order of time."""

    runs: Sequence[Mapping[int, Sequence[Run]]]
    unused: Sequence[Unused]


def fill(bases: Sequence[Line], stretches: Sequence[Stretch], until_ms: int) -> Filled:
    """bases, stretches: of one namespace in one rating interval. until_ms: nothing is unused after it."""
    order = _order(bases)
    cuts = {until_ms} if stretches else set[int]()
    cuts |= {at for base in bases for at in (base.start_ms, base.end_ms)}
    cuts |= {at for stretch in stretches for at in (stretch.start_ms, stretch.end_ms)}
    runs: list[dict[int, list[Run]]] = [{share: [] for share in shares_of(base)} for base in bases]
    unused: dict[tuple[str, str], list[Unused]] = {}
    for start_ms, end_ms in itertools.pairwise(sorted(cuts)):
        here = [each for each in stretches if each.start_ms <= start_ms < each.end_ms]
        held = [slot for slot in order if bases[slot[0]].start_ms <= start_ms < bases[slot[0]].end_ms]
        statuses: dict[tuple[int, int], Status] = {}
        for stretch in here:
            taking = [slot for slot in held if stretch.takes(bases[slot[0]])]
            if stretch.unit is not None:
                beyond = Status(stretch.plan.version, None)
                for slot in held:
                    if stretch.is_about(bases[slot[0]]):
                        statuses.setdefault(slot, beyond)
                statuses |= dict.fromkeys(taking[: stretch.guaranteed], Status(stretch.plan.version, stretch.unit))
            left = stretch.guaranteed - len(taking)
            if left > 0 and start_ms < until_ms:
                of_plan = unused.setdefault(stretch.plan.track, [])
                _add(of_plan, Unused(stretch=stretch, start_ms=start_ms, end_ms=end_ms, count=left))
        for slot in held:
            _append(runs[slot[0]][slot[1]], Run(start_ms=start_ms, end_ms=end_ms, status=statuses.get(slot)))
    return Filled(runs=runs, unused=[each for track in sorted(unused) for each in unused[track]])


def pieces(runs: Mapping[int, Sequence[Run]]) -> Iterator[tuple[Run, list[int]]]:
    """The runs of a base line, each with the shares that have it. runs: by share."""
    alike: dict[tuple[Run, ...], list[int]] = {}
    for share, mine in runs.items():
        alike.setdefault(tuple(mine), []).append(share)
    for all_of, shares in alike.items():
        for run in all_of:
            yield run, shares


def _order(bases: Sequence[Line]) -> list[tuple[int, int]]:
    """(number, share) of every share of every line, in the order in which they fill units."""
    slots: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for number, base in enumerate(bases):
        for share in shares_of(base):
            slots.setdefault((*_holder(base), base.node, base.device, str(share)), []).append((number, share))
    ranked: list[tuple[tuple[object, ...], tuple[int, int]]] = []
    for mine in slots.values():
        from_ms = end_ms = -1
        for number, share in sorted(mine, key=lambda slot: bases[slot[0]].start_ms):
            base = bases[number]
            if base.start_ms != end_ms:
                from_ms = base.start_ms
            end_ms = base.end_ms
            rank = (from_ms, _holder(base), base.node, base.device, share, base.start_ms)
            ranked.append((rank, (number, share)))
    return [slot for _, slot in sorted(ranked)]


def _holder(base: Line) -> tuple[str, str, str]:
    return (base.namespace, base.pod, base.container)


def _append(runs: list[Run], run: Run) -> None:
    last = runs[-1] if runs else None
    if last is not None and (last.end_ms, last.status) == (run.start_ms, run.status):
        runs[-1] = Run(start_ms=last.start_ms, end_ms=run.end_ms, status=run.status)
    else:
        runs.append(run)


def _add(found: list[Unused], more: Unused) -> None:
    last = found[-1] if found else None
    if (
        last is not None
        and last.end_ms == more.start_ms
        and last.count == more.count
        and last.stretch is more.stretch
    ):
        found[-1] = Unused(stretch=last.stretch, start_ms=last.start_ms, end_ms=more.end_ms, count=last.count)
    else:
        found.append(more)
