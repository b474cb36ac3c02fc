"""What corrections owe to closed months, for arbitrary ratings and closings. Each docstring is the law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from chargeback.core.corrections import as_charge, correct, is_same, net, posted
from chargeback.core.hours import HOUR_MS, month_after, parse_hour
from chargeback.core.lines import CHARGE, CREDIT, RESTATED, REVERSAL, Line

HOUR = parse_hour("2026-10-03T10Z")
FIRST = "2026-10"

quick = settings(max_examples=200, deadline=None)


def line(**changes: Any) -> Line:
    """A card held for an hour at 3.00, unless something else is said."""
    fields: dict[str, Any] = {
        "cluster": "lab", "node": "n1", "hour": HOUR, "day": "2026-10-03", "month": FIRST,
        "start_ms": HOUR * HOUR_MS, "end_ms": (HOUR + 1) * HOUR_MS, "account": "cc-a", "kind": "held",
        "device": "GPU-1", "parent": "GPU-1", "model": "H100", "profile": None, "sku": "gpu.h100", "unit": "gpu-hour",
        "unit_price": Fraction(3_000_000), "price_version": 1, "policy_version": 1, "gpu_ms_num": HOUR_MS,
        "quantity_ms_num": HOUR_MS, "ms_den": 1, "list_micros": 3_000_000, "amount_micros": 3_000_000,
        "namespace": "alpha", "pod": "train", "container": "main",
    }  # fmt: skip
    return Line(**(fields | changes))


def test_nothing_changed_is_no_line() -> None:
    assert correct([line()], [line()], "2026-11") == []


def test_a_changed_line_is_taken_back_and_restated() -> None:
    """Both cite the line; what adds up is negated, what says which line it was is not."""
    old, new = line(busy_ms=7, used_num=7, energy_mj=None), line(amount_micros=1_000_000, price_version=2)
    reversal, restated = correct([old], [new], "2026-12")
    assert (reversal.part, reversal.month, reversal.day) == (REVERSAL, "2026-12", "2026-12-01")
    assert (reversal.amount_micros, reversal.list_micros, reversal.gpu_ms_num) == (-3_000_000, -3_000_000, -HOUR_MS)
    assert (reversal.busy_ms, reversal.used_num, reversal.energy_mj) == (-7, -7, None)
    assert reversal.start_ms == old.start_ms
    assert (restated.part, restated.amount_micros, restated.price_version) == (RESTATED, 1_000_000, 2)
    assert {(each.corrects, each.corrects_month) for each in (reversal, restated)} == {(old.line_id, FIRST)}
    assert len({old.line_id, reversal.line_id, restated.line_id}) == 3


def test_a_line_that_comes_new_cites_its_node_hour() -> None:
    (restated,) = correct([], [line()], "2026-11")
    assert (restated.part, restated.corrects, restated.corrects_month) == (RESTATED, "lab/n1/2026-10-03T10Z", FIRST)


def test_a_line_that_is_gone_is_only_taken_back() -> None:
    (reversal,) = correct([line()], [], "2026-11")
    assert (reversal.part, reversal.amount_micros) == (REVERSAL, -3_000_000)


def test_a_correction_of_a_correction_cites_that() -> None:
    """Whose month is closed by then; the charge was taken back before."""
    reversal, restated = correct([line()], [line(account="cc-b")], "2026-11")
    standing = net([line(), reversal, restated])
    assert standing == [restated]
    again = correct(standing, [line(account="cc-c")], "2026-12")
    assert [(each.part, each.account) for each in again] == [(REVERSAL, "cc-b"), (RESTATED, "cc-c")]
    assert {(each.corrects, each.corrects_month) for each in again} == {(restated.line_id, "2026-11")}


def test_what_was_taken_back_does_not_stand() -> None:
    (reversal,) = correct([line()], [], "2026-11")
    assert net([line(), reversal]) == []


def test_versions_and_names_of_no_account_make_no_line() -> None:
    """A bill speaks of money, time and account: of nothing else there is anything to correct."""
    new = line(price_version=9, policy_version=9, owner_version=3, team="red", evidence="api", usage_micros=5)
    assert is_same(line(), new)
    assert is_same(line(), line(gpu_ms_num=7 * HOUR_MS, quantity_ms_num=7 * HOUR_MS, ms_den=7))
    for differs in (
        {"account": "cc-b"},
        {"list_micros": None},
        {"amount_micros": 0},
        {"gpu_ms_num": 1},
        {"ms_den": 7},
    ):
        assert not is_same(line(), line(**differs))


def test_a_restated_line_is_a_charge_again_in_its_own_day() -> None:
    """That of the ledger's timezone."""
    (restated,) = correct([], [line()], "2026-12")
    assert as_charge(restated, "UTC") == line()
    assert as_charge(restated, "Pacific/Kiritimati").day == "2026-10-04"
    assert as_charge(line(), "UTC") == line()


def test_sums_of_people_stand_for_themselves() -> None:
    """Whatever the hour is rated as."""
    credit = line(node="", kind=CREDIT, device="adjustment-1")
    assert net([credit]) == []
    taken, put = posted([credit], [], frozenset(), "")
    assert (taken, put) == ([], [])


# Ratings: for some of six keys an account, an amount and a time; what the keys get lies against it on the discount.
@st.composite
def ratings(draw: st.DrawFn) -> tuple[Line, ...]:
    found = draw(
        st.dictionaries(
            st.integers(0, 5),
            st.tuples(st.sampled_from(["cc-a", "cc-b"]), st.integers(-3, 3), st.integers(0, 3), st.booleans()),
        )
    )
    lines: list[Line] = []
    for number, (account, amount, ms, has_price) in found.items():
        of = line(
            device=f"GPU-{number}", account=account, gpu_ms_num=ms, quantity_ms_num=2 * ms, amount_micros=amount
        )
        lines.append(replace(of, list_micros=2) if has_price else replace(of, list_micros=None, amount_micros=None))
        if has_price:
            discount = replace(of, account="platform:discount", kind="discount", list_micros=0)
            lines.append(replace(discount, amount_micros=2 - amount, gpu_ms_num=0, quantity_ms_num=0))
    return tuple(lines)


@dataclass
class Ledger:
    """Lines by what is done to them: rated, or a month closed."""

    lines: tuple[Line, ...] = ()
    closed: tuple[str, ...] = ()

    @property
    def open_month(self) -> str:
        return month_after(self.closed[-1]) if self.closed else FIRST

    def rate(self, rated: Sequence[Line]) -> None:
        taken, put = posted(self.lines, rated, frozenset(self.closed), self.open_month)
        gone = {each.line_id for each in taken}
        self.lines = (*(each for each in self.lines if each.line_id not in gone), *put)
        assert len({each.line_id for each in self.lines}) == len(self.lines)

    def close(self) -> None:
        self.closed = (*self.closed, self.open_month)

    def of_closed(self) -> list[Line]:
        return sorted((each for each in self.lines if each.month in self.closed), key=lambda each: each.line_id)


CLOSE = None
events = st.lists(st.one_of(st.just(CLOSE), ratings()), max_size=8)


def after(happened: Sequence[tuple[Line, ...] | None]) -> Ledger:
    ledger = Ledger()
    for event in happened:
        ledger.close() if event is CLOSE else ledger.rate(event)
    return ledger


def sums(lines: Sequence[Line]) -> dict[tuple[object, ...], tuple[Fraction, Fraction, int, int]]:
    """By key, account and having a price: time, quantity, list, amount; nothing where they come to nothing."""
    found: dict[tuple[object, ...], tuple[Fraction, Fraction, int, int]] = {}
    for each in lines:
        key = (*each.key, each.account, each.list_micros is None)
        old = found.get(key, (Fraction(0), Fraction(0), 0, 0))
        found[key] = (
            old[0] + Fraction(each.gpu_ms_num, each.ms_den),
            old[1] + Fraction(each.quantity_ms_num, each.ms_den),
            old[2] + (each.list_micros or 0),
            old[3] + (each.amount_micros or 0),
        )
    return {key: each for key, each in found.items() if any(each)}


@quick
@given(events, ratings())
def test_a_key_adds_up_to_what_is_known_now(happened: list[tuple[Line, ...] | None], last: tuple[Line, ...]) -> None:
    """Over all months the lines of a key say what a ledger says that knew everything from the start."""
    ledger = after([*happened, last])
    assert sums(ledger.lines) == sums(last)


@quick
@given(events)
def test_a_closed_month_never_changes(happened: list[tuple[Line, ...] | None]) -> None:
    """Whatever is rated afterwards."""
    ledger = Ledger()
    for event in happened:
        before = ledger.of_closed()
        if event is not CLOSE:
            ledger.rate(event)
            assert ledger.of_closed() == before
        else:
            ledger.close()


@quick
@given(events, ratings(), ratings())
def test_exactly_once_in_any_order(
    happened: list[tuple[Line, ...] | None], first: tuple[Line, ...], last: tuple[Line, ...]
) -> None:
    """What was rated since a month was closed, however often, leaves no trace but the last of it."""
    once = after([*happened, last])
    again = after([*happened, first, last, last])
    assert sorted(once.lines, key=ascii) == sorted(again.lines, key=ascii)


@quick
@given(events)
def test_every_posted_month_balances(happened: list[tuple[Line, ...] | None]) -> None:
    """What adjustments move in a month is as much in amounts as in list amounts."""
    ledger = after(happened)
    for month in {each.month for each in ledger.lines}:
        mine = [each for each in ledger.lines if each.month == month]
        assert sum(each.amount_micros or 0 for each in mine) == sum(each.list_micros or 0 for each in mine)


@quick
@given(events, ratings())
def test_back_to_what_was_closed_is_no_line_at_all(
    happened: list[tuple[Line, ...] | None], other: tuple[Line, ...]
) -> None:
    """Adjustments of the open month are gone when nothing differs any more."""
    ledger = after([*happened, CLOSE])
    standing = [as_charge(each, "UTC") for each in net(ledger.lines)]
    ledger.rate(other)
    ledger.rate(standing)
    assert all(each.month in ledger.closed for each in ledger.lines)


@quick
@given(events, ratings())
def test_every_correction_cites_a_line_that_is_there(
    happened: list[tuple[Line, ...] | None], last: tuple[Line, ...]
) -> None:
    """Of a closed month; or its node-hour, where there was none."""
    ledger = after([*happened, last])
    there = {each.line_id: each for each in ledger.of_closed()}
    for each in ledger.lines:
        if each.part == CHARGE:
            assert (each.corrects, each.corrects_month) == ("", "")
        elif each.corrects in there:
            assert there[each.corrects].key == each.key
            assert there[each.corrects].month == each.corrects_month < each.month
        else:
            assert (each.part, each.corrects) == (RESTATED, "lab/n1/2026-10-03T10Z")
