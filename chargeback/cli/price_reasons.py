"""Why a holder pays what he pays, for `prices show --why`: every entry that matched, and what comes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from chargeback.cli.listing import Row
from chargeback.core.hours import HOUR_MS, format_instant, rating_intervals
from chargeback.core.money import MICROS, format_decimal
from chargeback.core.prices.asked import Asked
from chargeback.core.prices.book import PriceBook, Rate
from chargeback.core.prices.changes import says
from chargeback.core.prices.entries import RESERVED, SHARED, Entry, Labels, Place, Price, name_of

WHY = ("for", "rank", "applies", "entry", "price", "unit", "factor", "contract", "from", "until")
FACTS = (
    "version", "list_unit", "list_price", "list_hourly", "price_unit", "unit_price", "hourly", "tier_factor",
    "discount_factor",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked for. cards: how many the node has; the first of them is meant."""

    model: str
    profile: str | None
    tier: str | None
    sharing: str
    term: str
    cluster: str
    pool: str
    labels: Labels
    cards: int
    cost_center: str | None
    at_ms: int


def answer(book: PriceBook, asked: Question) -> tuple[Mapping[str, str | None], Sequence[Row]]:
    """What it comes to, by name (None: unpriced, or nothing of the kind), and the entries, each kind in order."""
    hour = asked.at_ms // HOUR_MS
    (start_ms, end_ms), *_ = [
        (hour * HOUR_MS + each.start, hour * HOUR_MS + each.end)
        for each in rating_intervals(hour, book.timezone)
        if hour * HOUR_MS + each.end > asked.at_ms
    ]
    cards = tuple(f"card {number:04d}" for number in range(asked.cards))
    place = Place(cluster=asked.cluster, pool=asked.pool, labels=asked.labels, cards=cards)
    found = book.why(
        Asked(
            model=asked.model,
            start_ms=start_ms,
            end_ms=end_ms,
            place=place,
            card=cards[0],
            profile=asked.profile,
            shared=asked.sharing == SHARED,
            reserved=asked.term == RESERVED,
            tier=asked.tier,
            cost_center=asked.cost_center,
        )
    )
    priced = found.rate is not None
    own_tier = bool(found.chosen) and found.chosen[0].tier is not None
    factor = found.factors[0].factor if found.factors and not own_tier else Fraction(1)
    discount = found.discounts[0].factor if found.discounts else Fraction(1)
    facts = {
        "version": str(book.version),
        **_rate("list_unit", "list_price", "list_hourly", found.list_rate),
        **_rate("price_unit", "unit_price", "hourly", found.rate),
        "tier_factor": format_decimal(factor) if priced else None,
        "discount_factor": format_decimal(discount) if priced else None,
    }
    rows = [
        *_rows("list price", found.listed, priced),
        *_rows("price", found.chosen, priced),
        *_rows("tier factor", found.factors, priced and not own_tier),
        *_rows("discount", found.discounts, priced),
    ]
    return facts, rows


def _rate(unit: str, price: str, hourly: str, rate: Rate | None) -> dict[str, str | None]:
    if rate is None:
        return {unit: None, price: None, hourly: None}
    micros = Fraction(round(rate.hourly)) if rate.hourly.denominator != 1 else rate.hourly
    return {
        unit: rate.unit,
        price: format_decimal(rate.unit_amount / MICROS),
        hourly: format_decimal(micros / MICROS),
    }


def _rows(kind: str, entries: Sequence[Entry], is_asked: bool) -> Iterator[Row]:
    for number, entry in enumerate(entries):
        said = says(entry)
        yield {
            "for": kind,
            "rank": number + 1,
            "applies": "yes" if is_asked and number == 0 else "",
            "entry": name_of(entry),
            "price": said.get("price"),
            "unit": entry.unit if isinstance(entry, Price) else None,
            "factor": said.get("factor"),
            "contract": said.get("contract"),
            "from": format_instant(entry.from_ms) if entry.from_ms else "",
            "until": None if entry.until_ms is None else format_instant(entry.until_ms),
        }
