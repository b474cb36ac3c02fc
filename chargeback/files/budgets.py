"""Budgets as people write them: one YAML file, all its problems reported at once.

```yaml
currency: USD
budgets:
  - {cost_center: rd-001, amount: "12000", from: 2026-10}
  - {cost_center: rd-002, amount: "800.50", from: 2026-10, until: 2027-01, thresholds: [80, 100]}
  - {cost_center: rd-003, amount: none, from: 2026-11}
```
`until` is the first month that it does not hold for; without one it holds until something newer is set.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from chargeback.core.budgets import PERCENT_MAX, THRESHOLDS, THRESHOLDS_MAX, Budget
from chargeback.core.hours import check_month
from chargeback.core.money import MICROS, parse_decimal
from chargeback.core.owners.owners import check_name
from chargeback.files.plain_yaml import PlainLoader

# What stands for an amount where there is to be no budget.
NONE = "none"

_KEYS = ("cost_center", "amount", "from", "until", "thresholds")


class BudgetFileError(ValueError):
    """What is wrong with a file of budgets: one problem a line."""


def read_budget_file(path: Path, currency: str) -> list[Budget]:
    """Read and check a file; its currency is the ledger's. Raises BudgetFileError, OSError."""
    return parse_budgets(path.read_text(encoding="utf-8"), str(path), currency)


def parse_budgets(text: str, name: str, currency: str) -> list[Budget]:
    """Parse and check; in order of cost centers and months. Raises BudgetFileError that lists every problem.

    The versions are given when they are kept.
    """
    try:
        data = yaml.load(text, Loader=PlainLoader)
    except yaml.YAMLError as error:
        raise BudgetFileError(f"{name}: not YAML: {error}") from error
    if not isinstance(data, Mapping):
        raise BudgetFileError(f"{name}: want a mapping with currency and budgets")
    unknown = sorted(data.keys() - {"currency", "budgets"})
    problems = [f"{key}: not a key of this file, want currency or budgets" for key in unknown]
    if data.get("currency") != currency:
        problems.append(f"currency: {data.get('currency', '')!r}: want {currency}, which the ledger is kept in")
    listed = data.get("budgets")
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        problems.append("budgets: want a list")
        listed = []
    read = [_read(entry, f"budgets[{number}]", problems) for number, entry in enumerate(listed)]
    budgets = sorted(filter(None, read), key=lambda budget: (budget.cost_center, budget.from_month))
    problems += _overlaps(budgets)
    if problems:
        raise BudgetFileError("\n".join(f"{name}: {problem}" for problem in problems))
    return budgets


def check_cost_center(text: str) -> str:
    """Raises ValueError."""
    try:
        return check_name(text)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from error


def parse_amount(text: str) -> int | None:
    """Micros a month of `12000.50`; None of `none`. Raises ValueError."""
    if text == NONE:
        return None
    amount = parse_decimal(text) * MICROS
    if amount < 0 or amount.denominator != 1:
        raise ValueError(f"{text!r}: want an amount of 0 or more with at most six decimals, or {NONE}")
    return int(amount)


def parse_thresholds(texts: Sequence[str]) -> tuple[int, ...]:
    """Percent, ascending. Raises ValueError."""
    wanted = f"want up to {THRESHOLDS_MAX} different whole percentages from 1 to {PERCENT_MAX}, such as 50,75,90,100"
    stripped = [text.strip() for text in texts]
    if not all(text.isascii() and text.isdecimal() and len(text) <= len(str(PERCENT_MAX)) for text in stripped):
        raise ValueError(f"{','.join(texts)!r}: {wanted}")
    found = tuple(sorted({int(text) for text in stripped}))
    if not 0 < len(found) <= THRESHOLDS_MAX or len(found) < len(texts) or found[0] < 1 or found[-1] > PERCENT_MAX:
        raise ValueError(f"{','.join(texts)!r}: {wanted}")
    return found


def _read(entry: Any, place: str, problems: list[str]) -> Budget | None:
    if not isinstance(entry, Mapping):
        problems.append(f"{place}: {entry!r}: want a mapping")
        return None
    before = len(problems)
    unknown = sorted(entry.keys() - {*_KEYS})
    problems += [f"{place}.{key}: not a key of a budget, want one of {', '.join(_KEYS)}" for key in unknown]

    def read(key: str, parse: Any) -> Any:
        if key not in entry:
            problems.append(f"{place}.{key}: missing")
            return None
        try:
            if key != "thresholds" and not isinstance(entry[key], str):
                raise ValueError(f"{entry[key]!r}: want a text")
            return parse(entry[key])
        except ValueError as error:
            problems.append(f"{place}.{key}: {error}")
            return None

    cost_center = read("cost_center", check_cost_center)
    amount, from_month = read("amount", parse_amount), read("from", check_month)
    until_month = read("until", check_month) if "until" in entry else None
    thresholds = read("thresholds", _percentages) if "thresholds" in entry else THRESHOLDS
    if len(problems) == before and until_month is not None and until_month <= from_month:
        problems.append(f"{place}.until: {until_month!r}: want a month after {from_month}")
    if len(problems) > before:
        return None
    return Budget(
        cost_center=cost_center,
        version=0,
        from_month=from_month,
        until_month=until_month,
        amount_micros=amount,
        thresholds=thresholds,
    )


def _percentages(listed: Any) -> tuple[int, ...]:
    if (
        not isinstance(listed, Sequence)
        or isinstance(listed, str)
        or not all(isinstance(each, str) for each in listed)
    ):
        raise ValueError(f"{listed!r}: want a list such as [50, 75, 90, 100]")
    return parse_thresholds(listed)


def _overlaps(budgets: Sequence[Budget]) -> list[str]:
    """Entries of a file that both end or begin over one month: which of them is meant is not ours to say.

    One without an end goes on until the next begins, and after that one ends; they are in order of their beginning.
    """
    return [
        f"budgets: {after.cost_center}: two of them hold in {after.from_month}: want one"
        for before, after in itertools.pairwise(budgets)
        if before.cost_center == after.cost_center
        and (before.from_month == after.from_month or after.from_month < (before.until_month or ""))
    ]
