"""Costs in groups add up to the whole, whatever the groups are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargeback.core.costs import NO_COSTS, OF_LINES, Costs, Part, check_groups, check_where, grouped
from chargeback.core.lines import DISCOUNT, UNPRICED
from chargeback.core.money import MS_PER_HOUR
from chargeback.core.totals import Total

GROUPS = (
    "cost-center",
    "team",
    "namespace",
    "cluster",
    "sku",
    "kind",
    "day",
    "month",
    "label:project",
    "label:stage",
)

amounts = st.none() | st.integers(-(10**15), 10**15)
names = st.sampled_from(["", "a", "A", "é", "b"])
labels = st.sampled_from([(), (("project", "a"),), (("project", "b"), ("stage", "a")), (("stage", ""),)])


@st.composite
def parts(draw: st.DrawFn) -> Part:
    allocation = draw(amounts)
    usage = draw(amounts) if allocation is not None else None
    total = Total(
        account=draw(st.sampled_from(["cc-a", "cc-b", "platform:idle", UNPRICED])),
        team=draw(names),
        cluster=draw(names),
        namespace=draw(names),
        kind=draw(names),
        sku=draw(names),
        model="",
        unit="",
        unit_price="",
        ms_den=draw(st.sampled_from([1, 7, 12])),
        gpu_ms_num=draw(st.integers(0, 10**9)),
        quantity_ms_num=0,
        list_micros=draw(amounts),
        amount_micros=draw(amounts),
        allocation_micros=allocation,
        usage_micros=usage,
        unknown_usage_micros=allocation if usage is None else None,
        dimensions=draw(labels),
    )
    return Part(total=total, day=f"2026-10-0{draw(st.integers(1, 3))}", is_running=draw(st.booleans()))


def whole(rows: Sequence[Costs]) -> tuple[object, ...]:
    """Their sums, and whether anything is known of them."""
    micros = [
        [getattr(row, name) for row in rows if getattr(row, name) is not None]
        for name in ("list_micros", "amount_micros", "allocation_micros", "usage_micros", "unknown_usage_micros")
    ]
    hours = sum((row.gpu_hours for row in rows), Fraction(0)), sum((row.unpriced_hours for row in rows), Fraction(0))
    return (*hours, *(sum(each) if each else None for each in micros))


@given(found=st.lists(parts(), max_size=30), by=st.lists(st.sampled_from(GROUPS), unique=True), apart=st.booleans())
def test_groups_are_a_partition(found: list[Part], by: list[str], apart: bool) -> None:
    """Case 20 of facts/cost-models.md: sums by label are those by namespace, and those of all; nothing leaks."""
    rows = grouped(found, by, running_apart=apart)
    assert whole(rows) == whole(grouped(found, ()))
    keys = [(*row.group, row.provisional) for row in rows]
    assert len(keys) == len(set(keys))


@given(found=st.lists(parts(), max_size=30), by=st.sampled_from(GROUPS))
def test_filters_by_every_value_are_a_partition(found: list[Part], by: str) -> None:
    """What has no such label is wanted by the empty value."""
    values = [row.group[0] for row in grouped(found, [by])]
    filtered = [row for value in values for row in grouped(found, (), {by: frozenset({value})})]
    assert whole(filtered) == whole(grouped(found, ()))
    assert whole(grouped(found, (), {by: frozenset(values)})) == whole(grouped(found, ()))


def test_both_bases_stand_beside_the_amount() -> None:
    """R12 of facts/cost-models.md (opencost#3900): 2.50 by allocation, 0.275 by usage at 11 % busy; and where busy
    time is not known, usage goes by allocation, and says of how much."""
    busy = Total(
        account="cc-a", team="", cluster="", namespace="", kind="held", sku="", model="", unit="", unit_price="",
        ms_den=1, gpu_ms_num=MS_PER_HOUR, quantity_ms_num=MS_PER_HOUR, list_micros=2_500_000, amount_micros=2_500_000,
        allocation_micros=2_500_000, usage_micros=275_000,
    )  # fmt: skip
    unknown = replace(busy, usage_micros=None, unknown_usage_micros=2_500_000)
    (row,) = grouped([Part(total=busy), Part(total=unknown)], ["cost-center"])
    assert (row.amount_micros, row.allocation_micros) == (5_000_000, 5_000_000)
    assert (row.usage_micros, row.unknown_usage_micros) == (2_775_000, 2_500_000)


def test_nothing_is_no_group() -> None:
    assert grouped([], ["team"]) == []
    assert NO_COSTS.amount_micros is None


@pytest.mark.parametrize("text", ["", "teams", "team,team", "label:", "pod", "cost-center,account"])
def test_what_is_no_group_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"want (one of cost-center|each group once)"):
        check_groups(text)


def test_groups_as_they_are_spelt() -> None:
    """As in JSON, too; pods and nodes only where the lines themselves are read."""
    assert check_groups("account, label:a/b") == ("cost-center", "label:a/b")
    assert check_groups("pod,workload,node", OF_LINES) == ("pod", "workload", "node")
    assert check_where([("team", "a"), ("team", "b"), ("cost_center", "")]) == {
        "team": frozenset("ab"),
        "cost-center": frozenset({""}),
    }


def test_a_team_is_charged_what_it_pays_and_not_its_list_amount() -> None:
    """The other side of a discount is nobody's in groups without accounts; with accounts it is told apart anyway."""
    held = Total(
        account="cc-a", team="red", cluster="lab", namespace="alpha", kind="held", sku="", model="", unit="",
        unit_price="", ms_den=1, gpu_ms_num=MS_PER_HOUR, quantity_ms_num=MS_PER_HOUR, list_micros=100,
        amount_micros=60, dimensions=(("project", "a"),),
    )  # fmt: skip
    discount = replace(held, account=DISCOUNT, kind="discount", gpu_ms_num=0, list_micros=0, amount_micros=40)
    found = [Part(total=held), Part(total=discount)]
    for name, value in (("team", "red"), ("namespace", "alpha"), ("label:project", "a")):
        assert [(row.group, row.list_micros, row.amount_micros) for row in grouped(found, (name,))] == [
            (("",), 0, 40),
            ((value,), 100, 60),
        ]
    assert [(row.group, row.amount_micros) for row in grouped(found, ("cost-center", "team"))] == [
        (("cc-a", "red"), 60),
        ((DISCOUNT, "red"), 40),
    ]
