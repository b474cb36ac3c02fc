"""The way from base lines to those of the ledger and back, and exact cuts. Each docstring is the law."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import BURST, DISCOUNT_KIND, FAULTED, HELD, HOLDERS, IDLE_HELD, RESERVED, WAIVED, Line
from chargeback.core.node_hour import NodeHour
from chargeback.core.owners.owners import Owner, OwnerBook
from chargeback.core.policy import Policy
from chargeback.core.prices.book import PriceBook
from chargeback.core.rating.base_lines import base_lines, cut_line, finish, repriced, shares_of
from chargeback.core.rating.waivers import Waiver
from tests.chargeback.core.drawn import (
    HOUR,
    NAMESPACES,
    instants,
    node_hours,
    owner_books,
    policies,
    price_books,
    quick,
    rated,
    some_waivers,
)

ADDS_UP = (
    "gpu_ms_num", "quantity_ms_num", "list_micros", "amount_micros", "allocation_micros", "usage_micros", "used_num",
    "busy_ms", "memory_byte_seconds", "energy_mj",
)  # fmt: skip
USAGE = Policy(basis="usage")
ALLOCATION = Policy()


def base(**changes: object) -> Line:
    """A whole card at 2.50 an hour, 11 % busy."""
    values: dict[str, object] = {
        "cluster": "lab", "node": "n1", "hour": 0, "day": "1970-01-01", "month": "1970-01", "start_ms": 0,
        "end_ms": HOUR_MS, "account": "cc-a", "kind": HELD, "device": "GPU-1", "parent": "GPU-1", "model": "X",
        "profile": None, "sku": "gpu.x", "unit": "gpu-hour", "unit_price": Fraction(2_500_000), "price_version": 1,
        "policy_version": 1, "gpu_ms_num": HOUR_MS, "quantity_ms_num": HOUR_MS, "ms_den": 1,
        "list_micros": 2_500_000, "amount_micros": 2_500_000, "shares": "0", "namespace": "a", "pod": "a",
        "container": "main", "busy_ms": 396_000, "used_num": 396_000, "list_hourly": Fraction(2_500_000),
        "hourly": Fraction(2_500_000), "allocation_micros": 2_500_000, "usage_micros": 275_000,
    }  # fmt: skip
    return Line(**(values | changes))  # type: ignore[arg-type]


def shown(lines: Sequence[Line]) -> list[tuple[str, str, int | None, int | None]]:
    return [(line.account, line.kind, line.list_micros, line.amount_micros) for line in lines]


def test_both_bases_of_an_hour_that_was_hardly_used() -> None:
    """R12 of the cost model cases (opencost#3900): 2.50 by what is held; 0.275 by use, 2.225 shown as not used."""
    assert finish(base(), ALLOCATION) == [base()]
    held, idle, discount = finish(base(), USAGE)
    assert shown([held, idle, discount]) == [
        ("cc-a", "held", 275_000, 275_000),
        ("cc-a", "idle-held", 2_225_000, 0),
        ("platform:discount", "discount", 0, 2_225_000),
    ]
    assert (held.gpu_ms_num, idle.gpu_ms_num, discount.gpu_ms_num) == (396_000, 3_204_000, 0)
    assert [(line.allocation_micros, line.usage_micros) for line in (held, idle, discount)] == [
        (275_000, 275_000),
        (2_225_000, 0),
        (None, None),
    ]
    assert (held.busy_ms, idle.busy_ms, discount.of_kind) == (396_000, 0, "idle-held")
    assert {line.base for line in (held, idle, discount)} == {base().line_id}


def test_use_that_nobody_knows_is_billed_by_what_is_held() -> None:
    """And says so; who looks at both bases sees that the one is not known."""
    unknown = base(used_num=None, usage_micros=None, busy_ms=HOUR_MS + 1, evidence="exclusive")
    (line,) = finish(unknown, USAGE)
    assert (line.amount_micros, line.usage_micros, line.evidence) == (2_500_000, None, "exclusive, usage unknown")
    assert base_lines([line]) == [unknown]


def test_all_or_nothing_used_is_one_line() -> None:
    """Idle all the time it is one that costs nothing, busy all the time it stays what it is."""
    idle, discount = finish(base(used_num=0, usage_micros=0, busy_ms=0), USAGE)
    assert shown([idle, discount]) == [
        ("cc-a", "idle-held", 2_500_000, 0),
        ("platform:discount", "discount", 0, 2_500_000),
    ]
    busy = base(used_num=HOUR_MS, usage_micros=2_500_000, busy_ms=HOUR_MS)
    assert finish(busy, USAGE) == [busy]


@pytest.mark.parametrize("policy", [ALLOCATION, USAGE])
def test_what_is_waived_costs_nothing_whatever_of_it_was_used(policy: Policy) -> None:
    waived = base(kind=FAULTED, allocation_micros=0, usage_micros=0)
    line, discount = finish(waived, policy)
    assert shown([line, discount]) == [
        ("cc-a", "faulted", 2_500_000, 0),
        ("platform:discount", "discount", 0, 2_500_000),
    ]
    assert base_lines([line, discount]) == [waived]


def test_a_line_without_a_price_stays() -> None:
    unpriced = base(
        list_micros=None, amount_micros=None, allocation_micros=None, usage_micros=None, list_hourly=None, hourly=None
    )
    assert finish(unpriced, USAGE) == [unpriced]
    assert base_lines([unpriced]) == [unpriced]
    piece = cut_line(unpriced, 0, 1_000)
    assert (piece.gpu_ms_num, piece.list_micros, piece.amount_micros) == (1_000, None, None)


def test_a_reserved_piece_is_never_lowered_by_use_and_leads_back() -> None:
    """Half an hour at a reserved price of 2.00 and half on demand; the use of the first half changes nothing."""
    half = HOUR_MS // 2
    first, second = (cut_line(base(), *span) for span in ((0, half), (half, HOUR_MS)))
    reserved = repriced(
        first, RESERVED, amount_micros=1_000_000, unit="gpu-month", unit_price=Fraction(1_440_000_000),
        quantity_num=first.quantity_ms_num, plan_version=3,
    )  # fmt: skip
    made = [*finish(reserved, USAGE), *finish(replace(second, kind=BURST), USAGE)]
    assert shown(made) == [
        ("cc-a", "reserved", 1_250_000, 1_000_000),
        ("platform:discount", "discount", 0, 250_000),
        ("cc-a", "burst", 137_500, 137_500),
        ("cc-a", "idle-held", 1_112_500, 0),
        ("platform:discount", "discount", 0, 1_112_500),
    ]
    assert (made[0].unit, made[0].hourly, made[0].plan_version) == ("gpu-month", Fraction(2_500_000), 3)
    assert base_lines(made) == [base()]
    assert base_lines([*finish(reserved, ALLOCATION), second]) == [base()]


@quick
@given(node_hours(), owner_books(), price_books(), policies, some_waivers)
def test_the_way_back(
    body: NodeHour, owners: OwnerBook, prices: PriceBook, policy: Policy, waived: list[Waiver]
) -> None:
    """`base_lines` undoes `finish`, by either basis; rated lines are what `finish` makes of their base lines."""
    lines, _ = rated(body, owners, prices, policy, waived)
    found = base_lines(lines)
    for policies_basis in ("allocation", "usage"):
        other = replace(policy, basis=policies_basis)
        made = [line for each in found for line in finish(each, other)]
        assert base_lines(made) == found
        if policies_basis == policy.basis:
            assert made == [line for line in lines if line.kind in HOLDERS | {DISCOUNT_KIND}]


@quick
@given(node_hours(), owner_books(), price_books(), policies, some_waivers)
def test_what_finish_makes_sums_to_the_base_line(
    body: NodeHour, owners: OwnerBook, prices: PriceBook, policy: Policy, waived: list[Waiver]
) -> None:
    """In time, list amount, both bases and what was measured; with its discounts its amount is its list amount."""
    lines, _ = rated(body, owners, prices, policy, waived)
    for each in base_lines(lines):
        made = finish(each, policy)
        pieces = [line for line in made if line.kind != DISCOUNT_KIND]
        for name in set(ADDS_UP) - {"amount_micros"}:
            assert total(pieces, name) == getattr(each, name), name
        assert sum(line.amount_micros or 0 for line in made) == (each.list_micros or 0)
        assert sum(line.list_micros or 0 for line in made) == (each.list_micros or 0)
        for line in pieces:
            if policy.basis == "usage" and each.usage_micros is not None and each.kind not in WAIVED:
                assert line.amount_micros == (0 if line.kind == IDLE_HELD else each.usage_micros)
            assert (line.kind in WAIVED) == (each.kind in WAIVED)


@quick
@given(node_hours(), owner_books(), price_books(), policies, st.data())
def test_pieces_sum_to_their_base_line(
    body: NodeHour, owners: OwnerBook, prices: PriceBook, policy: Policy, data: st.DataObject
) -> None:
    """Cut at any instants and between any shares, in every field that adds up; by any basis they lead back to it."""
    lines, _ = rated(body, owners, prices, policy)
    for each in base_lines(lines)[:4]:
        pieces = drawn_pieces(each, data)
        for name in ADDS_UP:
            assert total(pieces, name) == getattr(each, name), name
        assert base_lines(pieces) == [each]
        assert len({piece.line_id for piece in pieces}) == len(pieces)
        settled = [line for piece in pieces for line in finish(as_a_plan_has_it(piece, data), policy)]
        assert base_lines(settled) == [each]
        assert len({line.line_id for line in settled}) == len(settled)


@quick
@given(node_hours(), price_books(), policies, instants)
def test_a_cut_of_a_line_is_what_rating_makes_of_a_change_of_owner(
    body: NodeHour, prices: PriceBook, policy: Policy, at: int
) -> None:
    """To the micro: a piece depends on its slot and its ends, not on who cut it."""
    at_ms = HOUR * HOUR_MS + at

    def owned(until_ms: int | None) -> OwnerBook:
        first = [Owner(namespace=n, from_ms=0, until_ms=until_ms, cost_center=n) for n in NAMESPACES]
        then = [Owner(namespace=n, from_ms=at_ms, cost_center=n) for n in NAMESPACES]
        return OwnerBook([*first, *then] if until_ms is not None else first)

    rated_cut = {key(line): line for line in base_lines(rated(body, owned(at_ms), prices, policy)[0])}
    for each in base_lines(rated(body, owned(None), prices, policy)[0]):
        if each.start_ms < at_ms < each.end_ms:
            for piece in (cut_line(each, each.start_ms, at_ms), cut_line(each, at_ms, each.end_ms)):
                other = rated_cut[key(piece)]
                assert (piece.list_micros, piece.amount_micros) == (other.list_micros, other.amount_micros)
                assert gpu_ms(piece) == gpu_ms(other)


def key(line: Line) -> tuple[object, ...]:
    return (line.device, line.shares, line.pod, line.claim, line.start_ms, line.end_ms)


def gpu_ms(line: Line) -> Fraction:
    return Fraction(line.gpu_ms_num, line.ms_den)


def drawn_pieces(each: Line, data: st.DataObject) -> list[Line]:
    inner = data.draw(st.sets(st.integers(each.start_ms, each.end_ms), max_size=3))
    borders = sorted({each.start_ms, *inner, each.end_ms})
    shares = shares_of(each)
    at = data.draw(st.integers(1, len(shares)))
    groups = [group for group in (shares[:at], shares[at:]) if group]
    return [cut_line(each, a, b, group) for a, b in itertools.pairwise(borders) for group in groups]


def as_a_plan_has_it(piece: Line, data: st.DataObject) -> Line:
    if piece.amount_micros is None or piece.kind in WAIVED or data.draw(st.booleans()):
        return piece
    if data.draw(st.booleans()):
        return replace(piece, kind=BURST)
    return repriced(
        piece, RESERVED, amount_micros=data.draw(st.integers(0, 10**6)), unit="gpu-hour", unit_price=Fraction(1),
        quantity_num=data.draw(st.integers(0, 10**6)), plan_version=1,
    )  # fmt: skip


def total(lines: Sequence[Line], name: str) -> int | None:
    """None where no line says it."""
    known = [value for line in lines if (value := getattr(line, name)) is not None]
    return sum(known) if known else None
