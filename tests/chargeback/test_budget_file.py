"""Files of budgets: every problem at once, each with its place, what was seen and what is wanted."""

from __future__ import annotations

import pytest

from chargeback.core.budgets import THRESHOLDS, Budget
from chargeback.files.budgets import BudgetFileError, parse_budgets


def test_a_file_is_read_exactly() -> None:
    text = """
currency: EUR
budgets:
  - {cost_center: b, amount: "0.000001", from: 2026-10, until: 2027-01, thresholds: [100, 80]}
  - {cost_center: a, amount: none, from: 2027-02}
  - {cost_center: a, amount: 12000, from: 2026-10}
"""
    assert parse_budgets(text, "f", "EUR") == [
        Budget(cost_center="a", version=0, from_month="2026-10", amount_micros=12_000_000_000, thresholds=THRESHOLDS),
        Budget(cost_center="a", version=0, from_month="2027-02", amount_micros=None),
        Budget(
            cost_center="b", version=0, from_month="2026-10", until_month="2027-01", amount_micros=1,
            thresholds=(80, 100),
        ),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[", "f: not YAML"),
        ("- a", "f: want a mapping with currency and budgets"),
        ("currency: USD\nbudgets: []", "f: currency: 'USD': want EUR"),
        ("budgets: []", "f: currency: ''"),
        ("currency: EUR", "f: budgets: want a list"),
        ("currency: EUR\nbudgets: []\nx: 1", "f: x: not a key"),
        ("currency: EUR\nbudgets: []\nbudgets: []", "f: not YAML: 'budgets' comes twice"),
        ("currency: EUR\nbudgets: [{amount: 1, amount: 2}]", "f: not YAML: 'amount' comes twice"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text: str, problem: str) -> None:
    with pytest.raises(BudgetFileError) as caught:
        parse_budgets(text, "f", "EUR")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("7", "budgets[0]: '7': want a mapping"),
        ('{amount: "1", from: 2026-10}', "budgets[0].cost_center: missing"),
        ("{cost_center: unowned, amount: 1, from: 2026-10}", "budgets[0].cost_center: 'unowned': is an account"),
        ("{cost_center: null, amount: 1, from: 2026-10}", "budgets[0].cost_center: None: want a text"),
        ("{cost_center: [a], amount: 1, from: 2026-10}", "budgets[0].cost_center: ['a']: want a text"),
        ("{cost_center: a, amount: 1e3, from: 2026-10}", "budgets[0].amount: '1e3': want a plain decimal"),
        ("{cost_center: a, amount: -1, from: 2026-10}", "budgets[0].amount: '-1': want an amount of 0 or more"),
        ("{cost_center: a, amount: 0.0000001, from: 2026-10}", "budgets[0].amount: '0.0000001': want an amount"),
        ("{cost_center: a, amount: 1, from: 2026-13}", "budgets[0].from: '2026-13': want a month"),
        ("{cost_center: a, amount: 1, from: 2026-10, until: 2026-10}", "budgets[0].until: '2026-10': want a month"),
        ("{cost_center: a, amount: 1, from: 2026-10, thresholds: 90}", "budgets[0].thresholds: '90': want a list"),
        ("{cost_center: a, amount: 1, from: 2026-10, thresholds: []}", "budgets[0].thresholds: '': want up to 10"),
        ("{cost_center: a, amount: 1, from: 2026-10, thresholds: [9, 09]}", "budgets[0].thresholds: '9,09': want"),
        ("{cost_center: a, amount: 1, from: 2026-10, thresholds: [0]}", "budgets[0].thresholds: '0': want up to"),
        ("{cost_center: a, amount: 1, from: 2026-10, thresholds: [1001]}", "budgets[0].thresholds: '1001': want"),
        ("{cost_center: a, amount: 1, from: 2026-10, owner: x}", "budgets[0].owner: not a key of a budget"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said_with_its_place(entry: str, problem: str) -> None:
    with pytest.raises(BudgetFileError) as caught:
        parse_budgets(
            f"currency: EUR\nbudgets:\n  - {entry}\n  - {{cost_center: '', amount: x, from: y}}", "f", "EUR"
        )
    said = str(caught.value).splitlines()
    assert any(line.startswith(f"f: {problem}") for line in said)
    assert len(said) >= 4  # those of the other entry, too


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("from: 2026-10", "from: 2026-10", True),
        ("from: 2026-10, until: 2026-12", "from: 2026-11", True),
        ("from: 2026-10, until: 2026-12", "from: 2026-12", False),
        ("from: 2026-10", "from: 2026-12, until: 2027-01", False),
    ],
)
def test_two_that_hold_in_one_month_are_refused(first: str, second: str, clash: bool) -> None:
    text = f"""
currency: EUR
budgets:
  - {{cost_center: a, amount: 1, {second}}}
  - {{cost_center: a, amount: 2, {first}}}
  - {{cost_center: b, amount: 2, from: 2026-11}}
"""
    if clash:
        with pytest.raises(BudgetFileError, match="budgets: a: two of them hold in 2026-1"):
            parse_budgets(text, "f", "EUR")
    else:
        assert len(parse_budgets(text, "f", "EUR")) == 3
