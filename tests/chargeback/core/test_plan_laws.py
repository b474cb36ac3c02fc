"""The laws of settling, for arbitrary hours that were rated, plans, owners, prices and policies."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from chargeback.core.existence import exist
from chargeback.core.hours import HOUR_MS, rating_intervals
from chargeback.core.lines import BACKED, HOLDERS, IDLE, OVERSOLD, RESERVED, UNBACKED, UNUSED, WAIVED, Line
from chargeback.core.money import micros_until
from chargeback.core.node_hour import NodeHour
from chargeback.core.owners.owners import OwnerBook
from chargeback.core.plans.book import FILE, SEEN, PlanBook, PlanVersion
from chargeback.core.plans.hour import settle_hour
from chargeback.core.policy import Policy, PolicyBook
from chargeback.core.prices.book import GPU_HOUR, INSTANCE_HOUR, Price, PriceBook
from chargeback.core.prices.entries import RESERVED as TERM_RESERVED
from chargeback.core.rating.base_lines import base_lines
from chargeback.core.rating.rating import rate_node_hour
from tests.chargeback.core.drawn import (
    HOUR,
    MODEL,
    NAMESPACES,
    PLACES,
    node_hours,
    owner_books,
    policies,
    price_books,
    some_waivers,
)

GPU = "nvidia.com/gpu"
START_MS = HOUR * HOUR_MS
KEYS = ("", MODEL, f"{MODEL} / 1g.10gb", f"{MODEL} / 2g.20gb", "gpu.a100-sxm4-80gb", "NVIDIA L4")
quick = settings(max_examples=40, deadline=None)


@dataclass(frozen=True, kw_only=True)
class Case:
    lines: list[Line]
    plans: list[PlanVersion]
    owners: OwnerBook
    prices: PriceBook
    policy: Policy

    def settle(self, lines: Iterable[Line] | None = None, plans: Iterable[PlanVersion] | None = None) -> list[Line]:
        found, _ = settle_hour(
            "lab",
            HOUR,
            self.lines if lines is None else lines,
            PlanBook(self.plans if plans is None else plans),
            self.owners,
            self.prices,
            PolicyBook([self.policy]),
        )
        return found


@st.composite
def plan_versions(draw: st.DrawFn) -> list[PlanVersion]:
    """Of some namespaces, one or two versions each, in either layer."""
    found = []
    for namespace in draw(st.sets(st.sampled_from(NAMESPACES))):
        change = START_MS + draw(st.integers(0, HOUR_MS))
        for number, (from_ms, until_ms) in enumerate([(0, change), (change, None)][: draw(st.integers(1, 2))]):
            found.append(
                PlanVersion(
                    namespace=namespace,
                    resource=GPU,
                    guaranteed=draw(st.none() | st.integers(0, 5)),
                    cap=None,
                    price_key=draw(st.sampled_from(KEYS)),
                    from_ms=from_ms,
                    until_ms=until_ms,
                    version=number + 1,
                    layer=draw(st.sampled_from((FILE, SEEN))),
                    source="test",
                )
            )
    return found


@st.composite
def reserved_prices(draw: st.DrawFn) -> list[Price]:
    micros = st.integers(1, 5_000_000).map(Fraction)
    found = [Price(model=MODEL, unit=GPU_HOUR, amount=draw(micros), term=TERM_RESERVED)]
    if draw(st.booleans()):
        found += [
            Price(model=MODEL, unit=INSTANCE_HOUR, profile=profile, amount=draw(micros), term=TERM_RESERVED)
            for profile in ("1g.10gb", "2g.20gb")
        ]
    return found[: draw(st.integers(0, 3))]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Two nodes, rated; every holder holds by the one resource, so that plans are about all of them."""
    policy: Policy = draw(policies)
    owners = draw(owner_books())
    book: PriceBook = draw(price_books())
    prices = PriceBook(
        [*book.prices, *draw(reserved_prices())], book.factors, discounts=book.discounts, classes=book.classes
    )
    waived = draw(some_waivers)
    lines: list[Line] = []
    for node in ("n1", "n2"):
        body: NodeHour = draw(node_hours())
        held = [replace(each, resource=GPU) for each in body.holdings]
        existence = exist(HOUR, [body], body, [])
        made, _ = rate_node_hour(
            "lab", node, HOUR, held, existence, owners, prices, PolicyBook([policy]),
            places=PLACES, waivers=waived,
        )  # fmt: skip
        lines += made
    return Case(lines=lines, plans=draw(plan_versions()), owners=owners, prices=prices, policy=policy)


def total(lines: Iterable[Line], of: Callable[[Line], int | None]) -> int:
    return sum(of(line) or 0 for line in lines)


@quick
@given(cases())
def test_amounts_balance(case: Case) -> None:
    """Σ amount = Σ list over all accounts, and no line stands twice."""
    found = case.settle()
    assert total(found, lambda line: line.amount_micros) == total(found, lambda line: line.list_micros)
    assert len({line.line_id for line in found}) == len(found)


@quick
@given(cases())
def test_plans_move_amounts_only(case: Case) -> None:
    """Per holder: list, time of cards, what it costs by what is held, and what was measured stay as they were."""

    def sums(lines: Iterable[Line]) -> dict[tuple[str, ...], tuple[object, ...]]:
        found: dict[tuple[str, ...], list[Line]] = {}
        for line in lines:
            if line.kind in HOLDERS:
                found.setdefault((line.account, line.namespace, line.pod, line.node, line.device), []).append(line)
        return {
            key: (
                total(of, lambda line: line.list_micros),
                sum(Fraction(line.gpu_ms_num, line.ms_den) for line in of),
                total(of, lambda line: line.allocation_micros),
                total(of, lambda line: line.usage_micros),
                total(of, lambda line: line.busy_ms),
            )
            for key, of in found.items()
        }

    assert sums(case.settle()) == sums(case.lines)


@quick
@given(cases())
def test_settling_twice_is_settling_once(case: Case) -> None:
    found = case.settle()
    assert case.settle(found) == found


@quick
@given(cases(), plan_versions())
def test_what_was_settled_before_does_not_matter(case: Case, before: list[PlanVersion]) -> None:
    """Lines that other plans have settled come out as if they had never been."""
    assert case.settle(case.settle(plans=before)) == case.settle()
    assert case.settle(case.settle(), plans=[]) == case.settle(plans=[])


@quick
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_lines_and_plans_does_not_matter(case: Case, order: random.Random) -> None:
    lines, plans = list(case.lines), list(case.plans)
    order.shuffle(lines)
    order.shuffle(plans)
    assert case.settle(lines, plans) == case.settle()


@quick
@given(cases(), st.sampled_from(NAMESPACES))
def test_a_plan_changes_no_other_namespaces_line(case: Case, namespace: str) -> None:
    """Taking one namespace's plan away leaves all others' lines as they are, but for what idle cards back of them."""

    def others(lines: Iterable[Line]) -> list[Line]:
        return [line for line in lines if line.namespace != namespace and line.kind not in (BACKED, UNBACKED)]

    without = case.settle(plans=[each for each in case.plans if each.namespace != namespace])
    assert others(case.settle()) == others(without)


@quick
@given(cases())
def test_what_is_unused_is_stood_for(case: Case) -> None:
    """Idle cards and what is oversold, namespace by namespace; no more is backed than lay idle."""
    found = case.settle()
    for line in found:
        if line.kind == UNUSED and line.amount_micros is not None:
            against = [
                each.amount_micros or 0
                for each in found
                if each.kind in (BACKED, UNBACKED)
                and (each.namespace, each.device, each.start_ms) == (line.namespace, line.device, line.start_ms)
            ]
            assert sum(against) == -line.amount_micros
    assert all(line.account == IDLE and (line.amount_micros or 0) < 0 for line in found if line.kind == BACKED)
    assert all(line.account == OVERSOLD for line in found if line.kind == UNBACKED)
    assert all(line.gpu_ms_num == 0 for line in found if line.kind in (UNUSED, BACKED, UNBACKED))


@quick
@given(cases(), st.integers(0, 5), st.integers(1, 5_000_000))
def test_reserved_and_unused_are_units_times_the_price(case: Case, guaranteed: int, micros: int) -> None:
    """To the micro, in each rating interval: guaranteed × ⌊price × its time⌋, whoever fills the units and whenever.

    One owner, one version, whole cards, nothing waived or unpriced: then no unit's time is anything else."""
    reserved = Price(model=MODEL, unit=GPU_HOUR, amount=Fraction(micros), term=TERM_RESERVED)
    prices = PriceBook([*(price for price in case.prices.prices if price.is_list), reserved])
    plan = PlanVersion(namespace="a", resource=GPU, guaranteed=guaranteed, price_key=MODEL, version=1)
    whole = [line for line in base_lines(case.lines) if line.kind not in WAIVED and not line.claim and is_card(line)]
    found = replace(case, lines=whole, owners=OwnerBook([]), prices=prices).settle(plans=[plan])
    for interval in rating_intervals(HOUR, case.policy.timezone):
        mine = [line for line in found if interval.start <= line.start_ms - START_MS < interval.end]
        expected = guaranteed * micros_until(Fraction(micros), interval.end - interval.start, 1)
        paid = [line for line in mine if line.kind in (RESERVED, UNUSED)]
        assert total(paid, lambda line: line.amount_micros) == expected


def is_card(line: Line) -> bool:
    """Whether a base line is of one whole card."""
    is_whole = line.gpu_ms_num == line.ms_den * (line.end_ms - line.start_ms)
    return line.profile is None and is_whole and "," not in line.shares
