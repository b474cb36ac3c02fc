"""Costs in groups. Every total is in exactly one group, so that the groups always add up to the whole.

A group is named by fields of a total, by local day or month, or by a label: `label:KEY`. What has no such label
makes a group of its own, the empty one. So does the other side of a charge: what a discount takes off a namespace's
list amount is the platform's, not the namespace's, or every namespace would be charged its list amount.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from chargeback.core.lines import DISCOUNT, IDLE, OVERSOLD, UNPRICED
from chargeback.core.money import MS_PER_HOUR
from chargeback.core.quota.holders import workload_of
from chargeback.core.totals import Total, known_sum

COST_CENTER = "cost-center"
LABEL = "label:"
# Name of a group → field of a total; days are not in a total.
FIELDS = {
    COST_CENTER: "account",
    "team": "team",
    "namespace": "namespace",
    "cluster": "cluster",
    "sku": "sku",
    "kind": "kind",
}
DAYS = ("day", "month")
# Only where the lines themselves are read. A workload is told from the name of its pod, which is a guess.
WORKLOAD = "workload"
OF_LINES = (WORKLOAD, "pod", "container", "node")
# Groups of those who hold. Lines on these accounts name somebody, too, and are the other side of what he is charged.
_OF_HOLDERS = ("team", "namespace", *OF_LINES[:3])
_OTHER_SIDE = (DISCOUNT, IDLE, OVERSOLD)
# As they are spelt in JSON.
_ALIASES = {"account": COST_CENTER, "cost_center": COST_CENTER}

Wanted = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """A group of costs. Amounts are None where nothing in it has one; unpriced_hours: card hours without a price.

    group                 values, in the order in which the group was named
    allocation_micros     what is held, by that; None: nothing is held by anybody in it
    usage_micros          by busy time; where that is not known, by what is held
    unknown_usage_micros  the part of it for which it is not known
    provisional           of hours that are not closed yet
    """

    group: tuple[str, ...]
    gpu_hours: Fraction
    list_micros: int | None
    amount_micros: int | None
    allocation_micros: int | None = None
    usage_micros: int | None = None
    unknown_usage_micros: int | None = None
    unpriced_hours: Fraction = Fraction(0)
    provisional: bool = False


NO_COSTS = Costs(group=(), gpu_hours=Fraction(0), list_micros=None, amount_micros=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A total of a local day, and of what else is kept apart; is_running: its hour is not closed yet."""

    total: Total
    day: str = ""
    pod: str = ""
    container: str = ""
    node: str = ""
    is_running: bool = False


def check_group(name: str, more: Sequence[str] = ()) -> str:
    """The name of a group as we spell it. more: names that are groups here, too. Raises ValueError."""
    found = _ALIASES.get(name, name)
    if found in FIELDS or found in DAYS or found in more or (found.startswith(LABEL) and found != LABEL):
        return found
    raise ValueError(f"{name!r}: want one of {', '.join((*FIELDS, *DAYS, *more, LABEL + 'KEY'))}")


def check_groups(text: str, more: Sequence[str] = ()) -> tuple[str, ...]:
    """Names with commas between them, at least one. Raises ValueError."""
    names = tuple(check_group(name.strip(), more) for name in text.split(","))
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice!r} twice: want each group once")
    return names


def check_where(pairs: Iterable[tuple[str, str]], more: Sequence[str] = ()) -> dict[str, frozenset[str]]:
    """What is wanted, by group; one that is named again is wanted as either. Raises ValueError."""
    wanted: dict[str, frozenset[str]] = {}
    for name, value in pairs:
        group = check_group(name, more)
        wanted[group] = wanted.get(group, frozenset()) | {value}
    return wanted


def value_of(group: str, part: Part) -> str:
    """In which group of this name a total is."""
    if group.startswith(LABEL):
        return label_of(part.total.dimensions, group.removeprefix(LABEL))
    if group in DAYS:
        return part.day if group == "day" else part.day[:7]
    if group in OF_LINES:
        return workload_of(part.pod) if group == WORKLOAD else str(getattr(part, group))
    value: str = getattr(part.total, FIELDS[group])
    return value


def _charged(group: str, part: Part) -> str:
    """In which group a total counts where accounts are not told apart."""
    of_holder = group in _OF_HOLDERS or group.startswith(LABEL)
    return "" if of_holder and part.total.account in _OTHER_SIDE else value_of(group, part)


def label_of(dimensions: Iterable[tuple[str, str]], key: str) -> str:
    return next((value for name, value in dimensions if name == key), "")


def grouped(
    parts: Iterable[Part], group_by: Sequence[str], where: Wanted | None = None, *, running_apart: bool = False
) -> list[Costs]:
    """Costs by group, bytewise. running_apart: hours that are not closed yet make rows of their own.

    Only sums are kept, however many parts there are. Where accounts are told apart, so are the sides of a charge.
    """
    wanted = where or {}
    of = value_of if COST_CENTER in (*group_by, *wanted) else _charged
    sums: dict[tuple[tuple[str, ...], bool], Sum] = {}
    for part in parts:
        if all(of(name, part) in values for name, values in wanted.items()):
            key = (tuple(of(name, part) for name in group_by), running_apart and part.is_running)
            found = sums.get(key)
            if found is None:
                found = sums[key] = Sum()
            found.add(part.total)
    ordered = sorted(sums.items(), key=lambda item: ([value.encode() for value in item[0][0]], item[0][1]))
    return [found.costs(group, provisional=is_running) for (group, is_running), found in ordered]


_MONEY = ("list_micros", "amount_micros", "allocation_micros", "usage_micros", "unknown_usage_micros")


class Sum:
    """Adds totals up. Times are kept by denominator, which are few."""

    def __init__(self) -> None:
        self._ms: dict[int, int] = {}
        self._unpriced_ms: dict[int, int] = {}
        self._money: dict[str, int] = {}

    def add(self, total: Total) -> None:
        self._ms[total.ms_den] = self._ms.get(total.ms_den, 0) + total.gpu_ms_num
        if total.account == UNPRICED:
            self._unpriced_ms[total.ms_den] = self._unpriced_ms.get(total.ms_den, 0) + total.gpu_ms_num
        for name in _MONEY:
            micros = getattr(total, name)
            if micros is not None:
                self._money[name] = self._money.get(name, 0) + micros

    def costs(self, group: tuple[str, ...], *, provisional: bool = False) -> Costs:
        usage, unknown = self._money.get("usage_micros"), self._money.get("unknown_usage_micros")
        return Costs(
            group=group,
            gpu_hours=_hours(self._ms),
            list_micros=self._money.get("list_micros"),
            amount_micros=self._money.get("amount_micros"),
            allocation_micros=self._money.get("allocation_micros"),
            usage_micros=known_sum([usage, unknown]),
            unknown_usage_micros=unknown,
            unpriced_hours=_hours(self._unpriced_ms),
            provisional=provisional,
        )


def _hours(ms: Mapping[int, int]) -> Fraction:
    return sum((Fraction(num, den) for den, num in ms.items()), Fraction(0)) / MS_PER_HOUR
