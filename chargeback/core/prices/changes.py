"""What differs between two versions of the price book, and what of it may not change once hours were rated by it.

Two books are the same where they say the same, however their entries are cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from chargeback.core.hours import format_instant
from chargeback.core.money import MICROS, format_decimal
from chargeback.core.prices.book import PriceBook
from chargeback.core.prices.entries import ClassTier, Discount, Entry, Key, Price, TierFactor, name_of

SECTIONS = {Price: "prices", TierFactor: "tiers", Discount: "discounts", ClassTier: "priority_classes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one key says in [from_ms, until_ms): before, and after; None: nothing."""

    before: Entry | None
    after: Entry | None
    from_ms: int
    until_ms: int | None

    @property
    def entry(self) -> Entry:
        found = self.after or self.before
        assert found is not None
        return found

    @property
    def section(self) -> str:
        return SECTIONS[type(self.entry)]

    @property
    def name(self) -> str:
        return name_of(self.entry)

    @property
    def fields(self) -> tuple[tuple[str, str, str], ...]:
        """What is another: field, before, after; "" where there is nothing."""
        old, new = says(self.before), says(self.after)
        return tuple(
            (field, old.get(field, ""), new.get(field, ""))
            for field in (old | new)
            if old.get(field) != new.get(field)
        )

    @property
    def text(self) -> str:
        """`prices: model H100: price: 3.000000 becomes 4.000000 from 2026-10-01T00:00:00Z`."""
        since = f"from {format_instant(self.from_ms)}" if self.from_ms else "from ever"
        until = "" if self.until_ms is None else f" until {format_instant(self.until_ms)}"
        if self.before is None or self.after is None:
            said = ", ".join(f"{field} {old or new}" for field, old, new in self.fields)
            what = f"{'added' if self.before is None else 'taken away'}: {said}"
        else:
            what = "; ".join(f"{field}: {old or '-'} becomes {new or '-'}" for field, old, new in self.fields)
        return f"{self.section}: {self.name}: {what}, {since}{until}"


def says(entry: Entry | None) -> dict[str, str]:
    """What an entry says of its key."""
    match entry:
        case None:
            return {}
        case Price():
            return {"price": format_decimal(entry.amount / MICROS), "unit": entry.unit}
        case TierFactor():
            return {"factor": format_decimal(entry.factor)}
        case Discount():
            said = {"factor": format_decimal(entry.factor)}
            return said if entry.contract is None else {**said, "contract": entry.contract}
    return {"tier": entry.tier}


def changes(before: PriceBook, after: PriceBook) -> list[Change]:
    """Every difference of two books, by section and key, oldest first."""
    old, new = _by_key(before), _by_key(after)
    keys = sorted(old.keys() | new.keys(), key=lambda key: (tuple(SECTIONS).index(key[0]), key[1]))
    return [change for key in keys for change in _of_key(old.get(key, []), new.get(key, []))]


def first_difference(before: PriceBook, after: PriceBook) -> int | None:
    """The first instant (unix ms) at which two books say different things; None: nowhere."""
    return min((change.from_ms for change in changes(before, after)), default=None)


def backdated(before: PriceBook, after: PriceBook, rated_ms: int) -> list[Change]:
    """Changes of what hours before rated_ms were rated by. What fills time that had no price at all is none."""
    return [
        change
        for change in changes(before, after)
        if change.from_ms < rated_ms and any(_touches(price, change, rated_ms) for price in before.prices)
    ]


def _by_key(book: PriceBook) -> dict[tuple[type, Key], list[Entry]]:
    found: dict[tuple[type, Key], list[Entry]] = {}
    for entry in book.entries:
        found.setdefault((type(entry), entry.key), []).append(entry)
    return found


def _of_key(old: list[Entry], new: list[Entry]) -> Iterator[Change]:
    """Neighbouring times with the same difference are one."""
    ends = {at for entry in (*old, *new) for at in (entry.from_ms, entry.until_ms) if at is not None}
    borders: list[int | None] = [*sorted({0, *ends}), None]
    open_change: Change | None = None
    for start_ms, end_ms in itertools.pairwise(borders):
        assert start_ms is not None
        was, is_now = (next((e for e in entries if e.holds(start_ms)), None) for entries in (old, new))
        if says(was) == says(is_now):
            found = None
        else:
            found = Change(before=was, after=is_now, from_ms=start_ms, until_ms=end_ms)
        if open_change is not None and found is not None and open_change.fields == found.fields:
            open_change = Change(
                before=open_change.before, after=open_change.after, from_ms=open_change.from_ms, until_ms=end_ms
            )
            continue
        if open_change is not None:
            yield open_change
        open_change = found
    if open_change is not None:
        yield open_change


def _touches(price: Price, change: Change, rated_ms: int) -> bool:
    """Whether time that this card's price priced, before rated_ms, may cost something else after a change."""
    if not price.is_list or price.from_ms >= rated_ms:
        return False
    entry = replace(change.entry, from_ms=change.from_ms, until_ms=change.until_ms)
    # Where both hold, a card's price that comes after another in precedence never applies.
    return price.meets(entry) and not (isinstance(entry, Price) and price.rank < entry.rank)
