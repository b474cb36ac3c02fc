"""What is guaranteed is paid for, used or not: at each instant the first so many shares are reserved."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction

from tests.proof.comparison.case import Case, Difference, lines_text, money
from tests.proof.comparison.export import HELD, Line
from tests.proof.witness.lives import clock
from tests.proof.witness.tariff import HOUR_MS, RESERVED, Tariffs, telescoped
from tests.proof.witness.testimony import Plan

UNUSED, MOVED = "unused", frozenset({"unused", "backed", "unbacked"})


def check_plans(case: Case) -> Iterator[Difference]:
    plans = [each for each in case.testimony.told if isinstance(each, Plan)]
    for namespace, resource in dict.fromkeys((each.namespace, each.resource) for each in plans):
        mine = [each for each in plans if (each.namespace, each.resource) == (namespace, resource)]
        lines = [
            line
            for line in case.lines
            if (line.namespace, line.resource) == (namespace, resource) and line.kind in (*HELD, UNUSED)
        ]
        yield from _check_units(case, mine, lines)
        yield from _check_unused(case, mine, lines)
    planned = {(each.namespace, each.resource) for each in plans}
    for line in case.lines:
        if line.kind in (RESERVED, UNUSED) and (line.namespace, line.resource) not in planned:
            yield Difference(
                kind="plan", subject=line.namespace, witness="nothing is guaranteed", product=lines_text([line])
            )
    if sum(line.amount_micros or 0 for line in case.lines if line.kind in MOVED):
        moved = [line for line in case.lines if line.kind in MOVED]
        yield Difference(kind="plan", subject="unused", witness="sums to nothing", product=lines_text(moved))


def _check_units(case: Case, plans: Sequence[Plan], lines: Sequence[Line]) -> Iterator[Difference]:
    """At each instant the first so many shares are reserved, and the rest of the units is unused."""
    from_ms, until_ms = case.testimony.from_ms, case.testimony.until_ms
    begins = _begins(lines)
    borders = {from_ms, until_ms, *(plan.at_ms for plan in plans)}
    borders |= {at for line in lines for at in (line.from_ms, line.until_ms)}
    for a, b in itertools.pairwise(sorted(at for at in borders if from_ms <= at <= until_ms)):
        guaranteed = next((plan.guaranteed for plan in reversed(plans) if plan.at_ms <= a), 0)
        here = [line for line in lines if line.from_ms <= a < line.until_ms]
        held = sorted(
            (begins[id(line)], line.holder, line.device, share, line.kind == RESERVED)
            for line in here
            if line.kind != UNUSED
            for share in line.shares or (0,)
        )
        unused = sum((_count(line) for line in here if line.kind == UNUSED), Fraction(0))
        reserved = [each[-1] for each in held]
        wanted = [number < guaranteed for number in range(len(held))]
        if reserved != wanted or unused != max(0, guaranteed - len(held)):
            yield Difference(
                kind="plan",
                subject=f"{plans[0].namespace} from {clock(a)} to {clock(b)}",
                witness=f"{guaranteed} guaranteed, {len(held)} held: the first {sum(wanted)} within it",
                product=f"{sum(reserved)} reserved, {unused} unused: {lines_text(here)}",
            )


def _check_unused(case: Case, plans: Sequence[Plan], lines: Sequence[Line]) -> Iterator[Difference]:
    tariffs = Tariffs(case.testimony.told)
    for line in lines:
        if line.kind != UNUSED:
            continue
        tier = next((hold.tier for hold in case.testimony.holds if hold.namespace == line.namespace), None)
        hourly = tariffs.at(line.from_ms).unit(plans[-1], line.account, tier)
        wanted = None if hourly is None else _count(line) * telescoped(hourly, line.from_ms % HOUR_MS, line.ms)
        if line.amount_micros != wanted:
            said = "no price" if wanted is None else money(int(wanted))
            yield Difference(kind="money", subject=line.namespace, witness=said, product=lines_text([line]))


def _begins(lines: Sequence[Line]) -> dict[int, int]:
    """When the unbroken holding of each line's slot began, in its hour."""
    found: dict[int, int] = {}
    ends: dict[object, tuple[int, int]] = {}
    for line in sorted(lines, key=lambda each: each.from_ms):
        key = (line.holder, line.device, line.shares, line.hour)
        end_ms, began_ms = ends.get(key, (-1, -1))
        found[id(line)] = began_ms if end_ms == line.from_ms else line.from_ms
        ends[key] = (line.until_ms, found[id(line)])
    return found


def _count(line: Line) -> Fraction:
    """Of units."""
    return line.quantity_ms / line.ms
