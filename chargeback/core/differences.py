"""What rating hours again changes, or would change: by account, and in which months it is posted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from chargeback.core.lines import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """Where a sum lies: its account and month; and of adjustments the month that they correct, else ""."""

    account: str
    month: str
    corrects_month: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """Of lines; what has no price counts for its time alone."""

    gpu_ms: Fraction = Fraction(0)
    list_micros: int = 0
    amount_micros: int = 0

    def __add__(self, other: Sum) -> Sum:
        return Sum(
            gpu_ms=self.gpu_ms + other.gpu_ms,
            list_micros=self.list_micros + other.list_micros,
            amount_micros=self.amount_micros + other.amount_micros,
        )

    def __neg__(self) -> Sum:
        return Sum(gpu_ms=-self.gpu_ms, list_micros=-self.list_micros, amount_micros=-self.amount_micros)

    def __sub__(self, other: Sum) -> Sum:
        return self + -other


NOTHING = Sum()
Sums = dict[Posting, Sum]


def sums_of(lines: Iterable[Line]) -> Sums:
    sums: Sums = {}
    for line in lines:
        mine = Sum(
            gpu_ms=Fraction(line.gpu_ms_num, line.ms_den),
            list_micros=line.list_micros or 0,
            amount_micros=line.amount_micros or 0,
        )
        add_sum(sums, Posting(account=line.account, month=line.month, corrects_month=line.corrects_month), mine)
    return sums


def add_sum(sums: Sums, posting: Posting, more: Sum) -> None:
    sums[posting] = sums.get(posting, NOTHING) + more


def with_change(before: Mapping[Posting, Sum], taken: Iterable[Line], put: Iterable[Line]) -> Sums:
    """Sums as they are after some lines are taken away and others are put."""
    after = dict(before)
    for posting, gone in sums_of(taken).items():
        add_sum(after, posting, -gone)
    for posting, come in sums_of(put).items():
        add_sum(after, posting, come)
    return after


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChange:
    account: str
    before: Sum
    after: Sum


def by_account(before: Mapping[Posting, Sum], after: Mapping[Posting, Sum]) -> list[AccountChange]:
    """The accounts whose sums over all months differ, cost centers first, each bytewise."""
    old, new = _accounts(before), _accounts(after)
    return [
        AccountChange(account=account, before=old.get(account, NOTHING), after=new.get(account, NOTHING))
        for account in sorted(old.keys() | new.keys(), key=lambda name: (name.startswith("platform:"), name.encode()))
        if old.get(account, NOTHING) != new.get(account, NOTHING)
    ]


def _accounts(sums: Mapping[Posting, Sum]) -> dict[str, Sum]:
    found: dict[str, Sum] = {}
    for posting, each in sums.items():
        found[posting.account] = found.get(posting.account, NOTHING) + each
    return found


def adjusted(before: Mapping[Posting, Sum], after: Mapping[Posting, Sum]) -> list[tuple[Posting, Sum]]:
    """What is posted more as adjustments of closed months, by month, month corrected and account."""
    changes = {
        posting: after.get(posting, NOTHING) - before.get(posting, NOTHING)
        for posting in before.keys() | after.keys()
        if posting.corrects_month
    }
    order = sorted(changes, key=lambda each: (each.month, each.corrects_month, each.account.encode()))
    return [(posting, changes[posting]) for posting in order if changes[posting] != NOTHING]
