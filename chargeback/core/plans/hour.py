"""Settling: the lines of a cluster and hour, as plans bill them.

What fills a namespace's guarantee is `reserved`, all else that it holds of it is `burst`, what it does not use of the
guarantee is a line of its own. Plans move amounts, never list amounts, and never a line of another namespace.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

from chargeback.core import lines as ledger
from chargeback.core.hours import HOUR_MS, RatingInterval, rating_intervals
from chargeback.core.lines import Line, Problem
from chargeback.core.money import micros_until
from chargeback.core.owners.owners import OwnerBook
from chargeback.core.plans.book import PlanBook
from chargeback.core.plans.fill import Run, Stretch, Unused, fill, pieces
from chargeback.core.plans.lines import Posting, plan_lines
from chargeback.core.plans.units import Unit, Units, models_of
from chargeback.core.policy import Policy, PolicyBook
from chargeback.core.prices.book import Place, PriceBook
from chargeback.core.rating.base_lines import base_lines, cut_line, finish, repriced

# The pool of a node at an instant (unix ms), by which its policy is found.
PoolOf = Callable[[str, int], str]

UNPRICED_PLAN, CONTRADICTORY_PLAN = "unpriced plan", "contradictory plan"

_OF_PLANS = frozenset({ledger.UNUSED, ledger.BACKED, ledger.UNBACKED})


def settle_hour(
    cluster: str,
    hour: int,
    lines: Iterable[Line],
    plans: PlanBook,
    owners: OwnerBook,
    prices: PriceBook,
    policies: PolicyBook,
    pool_of: PoolOf = lambda node, at_ms: "",
    *,
    until: int = HOUR_MS,
) -> tuple[list[Line], list[Problem]]:
    """All lines of the hour as they are with the plans, in a fixed order; and what is wrong with the plans.

    lines   charges, all of the cluster and hour, of every node, settled before or not
    until   ms from the hour's start up to which its nodes are rated: less for an hour that is running, in which a
            guarantee waits whose price goes by what nobody has seen yet

    Lines of namespaces that neither have a plan in the hour nor had one when it was settled last come back as they
    are. Settling what is settled changes nothing; the order of what comes in does not matter.
    """
    given = sorted((line for line in lines if line.kind not in _OF_PLANS), key=_place_in_order)
    start_ms = hour * HOUR_MS
    planned = plans.namespaces(start_ms, start_ms + HOUR_MS)
    touched = {*planned, *(line.namespace for line in given if line.plan_version is not None)}
    settled = [line for line in given if line.namespace not in touched or not _is_holders(line)]
    problems: list[Problem] = []
    bases = base_lines(given) if touched else []
    models = models_of(given)
    for interval in rating_intervals(hour, policies.first.timezone):
        span = (start_ms + interval.start, start_ms + interval.end)
        in_span = [line for line in given if span[0] <= line.start_ms < span[1]]
        in_span_bases = [base for base in bases if span[0] <= base.start_ms < span[1]]
        books = _Books(
            cluster=cluster,
            hour=hour,
            interval=interval,
            span=span,
            until_ms=min(span[1], start_ms + until),
            plans=plans,
            owners=owners,
            prices=prices,
            policies=policies,
            pool_of=pool_of,
            units=Units(in_span_bases, in_span, models, span, is_running=until < HOUR_MS),
        )
        unused: list[Unused] = []
        for namespace in sorted(touched):
            mine = [base for base in in_span_bases if base.namespace == namespace]
            made, left, wrong = _settle(books, namespace, mine)
            settled += made
            unused += left
            problems += wrong
        settled += plan_lines(books.posting, unused, in_span)
    return sorted(settled, key=_place_in_order), problems


@dataclass(frozen=True, slots=True, kw_only=True)
class _Books:
    """What all namespaces of a rating interval have in common. span, until_ms: unix ms."""

    cluster: str
    hour: int
    interval: RatingInterval
    span: tuple[int, int]
    until_ms: int
    plans: PlanBook
    owners: OwnerBook
    prices: PriceBook
    policies: PolicyBook
    pool_of: PoolOf
    units: Units

    @property
    def posting(self) -> Posting:
        return Posting(
            cluster=self.cluster,
            hour=self.hour,
            interval=self.interval,
            since_ms=self.span[0],
            price_version=self.prices.version,
            policy_version=self.policy_of("").version,
        )

    def policy_of(self, node: str) -> Policy:
        return self.policies.at(self.span[0], self.cluster, self.pool_of(node, self.span[0]) if node else "")


def _settle(
    books: _Books, namespace: str, bases: Sequence[Line]
) -> tuple[list[Line], Sequence[Unused], list[Problem]]:
    """Of one namespace in one rating interval: its holders' lines, what its plans leave unused, and problems."""
    problems: list[Problem] = []
    stretches = list(_stretches(books, namespace, problems))
    filled = fill(bases, stretches, books.until_ms)
    made: list[Line] = []
    for base, runs in zip(bases, filled.runs, strict=True):
        policy = books.policy_of(base.node)
        for piece in _priced(base, runs, books.span[0]):
            made += finish(piece, policy)
    return made, filled.unused, problems


def _stretches(books: _Books, namespace: str, problems: list[Problem]) -> Iterator[Stretch]:
    """The namespace's plans through the interval, cut wherever a plan or the owner changes."""
    start_ms, end_ms = books.span
    changes = {
        *books.plans.changes(namespace, start_ms, end_ms),
        *books.owners.changes(namespace, start_ms, end_ms),
    }
    for begin_ms, stop_ms in itertools.pairwise([start_ms, *sorted(changes), end_ms]):
        owner = books.owners.at(namespace, begin_ms)
        for plan in books.plans.at(namespace, begin_ms):
            if plan.guaranteed is None:
                if plan.problem is not None:
                    subject = f"{namespace}: {plan.problem}"
                    problems.append(
                        Problem(kind=CONTRADICTORY_PLAN, subject=subject, ms=Fraction(stop_ms - begin_ms))
                    )
                continue
            key, why = books.units.key_of(plan, books.prices)
            unit = None
            if key is not None:
                # On no node in particular: one priced as a whole is as good as if it had this card alone.
                place = Place(cluster=books.cluster, cards=("",))
                unit, why = books.units.unit_of(plan, key, owner, books.prices, place, (begin_ms, stop_ms))
                if unit is None and not why:
                    continue
            if unit is None and plan.guaranteed:
                guaranteed_ms = Fraction((stop_ms - begin_ms) * plan.guaranteed)
                problems.append(Problem(kind=UNPRICED_PLAN, subject=f"{namespace}: {why}", ms=guaranteed_ms))
            yield Stretch(
                start_ms=begin_ms,
                end_ms=stop_ms,
                plan=plan,
                guaranteed=plan.guaranteed,
                owner=owner,
                key=key,
                unit=unit,
                why=why,
            )


def _priced(base: Line, runs: Mapping[int, Sequence[Run]], since_ms: int) -> Iterator[Line]:
    """A base line, or its pieces as the plan prices them. What is waived or has no price fills units as it is."""
    statuses = {run.status for of_share in runs.values() for run in of_share} - {None}
    if not statuses or base.kind in ledger.WAIVED or base.amount_micros is None:
        yield base
        return
    base = _scaled(base, (status.unit for status in statuses if status is not None))
    for run, shares in pieces(runs):
        yield _piece(cut_line(base, run.start_ms, run.end_ms, shares), run, len(shares), since_ms)


def _piece(piece: Line, run: Run, shares: int, since_ms: int) -> Line:
    """Telescoped by unit: all units of a plan cost the same from the interval's start on, whoever fills them."""
    if run.status is None:
        return piece
    unit = run.status.unit
    if unit is None:
        return replace(piece, kind=ledger.BURST, plan_version=run.status.version)
    amount = micros_until(unit.hourly, run.end_ms - since_ms, 1) - micros_until(
        unit.hourly, run.start_ms - since_ms, 1
    )
    quantity = unit.quantity * shares * (run.end_ms - run.start_ms) * piece.ms_den
    assert quantity.denominator == 1, piece
    return repriced(
        piece,
        ledger.RESERVED,
        amount_micros=shares * amount,
        unit=unit.rate.unit,
        unit_price=unit.rate.unit_amount,
        quantity_num=int(quantity),
        plan_version=run.status.version,
    )


def _scaled(base: Line, units: Iterable[Unit | None]) -> Line:
    """A base line over a denominator in which quantities of the units' prices are whole, too."""
    by = lcm(*((unit.quantity * base.ms_den).denominator for unit in units if unit is not None))
    if by == 1:
        return base
    return replace(
        base,
        ms_den=base.ms_den * by,
        gpu_ms_num=base.gpu_ms_num * by,
        quantity_ms_num=base.quantity_ms_num * by,
        gpu_before_num=base.gpu_before_num * by,
        quantity_before_num=base.quantity_before_num * by,
        used_num=None if base.used_num is None else base.used_num * by,
        used_before_num=base.used_before_num * by,
    )


def _is_holders(line: Line) -> bool:
    """Whether a line is made anew from a base line."""
    return line.kind in ledger.HOLDERS or line.kind == ledger.DISCOUNT_KIND


def _place_in_order(line: Line) -> tuple[object, ...]:
    return (
        line.node, line.parent, line.start_ms, line.device, line.shares, line.namespace, line.pod, line.container,
        line.claim, line.kind, line.of_kind, line.part, line.month,
    )  # fmt: skip
