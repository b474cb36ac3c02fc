"""The price book: dated prices, and which of them applies.

Order: model and profile and tier, model and profile, model and tier, model; then those that name a term, a sharing,
and the narrower place: more labels of the node, its pool, its cluster. A reserved price goes before all others where
it is asked for. A tier's factor applies to what the tier does not price itself, a discount to what comes out of that.
Without the card's own price its time is unpriced, whatever else is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from chargeback.core.hours import HOUR_MS, local_day, midnight_ms
from chargeback.core.prices.asked import Asked
from chargeback.core.prices.entries import (
    GPU_HOUR,
    GPU_MONTH,
    INSTANCE_HOUR,
    NODE_HOUR,
    NOWHERE,
    RESERVED,
    SHARED,
    UNITS,
    ClassTier,
    Discount,
    Entry,
    Place,
    Price,
    TierFactor,
)
from chargeback.core.prices.spread import hourly_of_card, hourly_of_month

__all__ = [
    "GPU_HOUR", "GPU_MONTH", "INSTANCE_HOUR", "NODE_HOUR", "NOWHERE", "UNITS", "Asked", "ClassTier", "Discount",
    "Place", "Price", "PriceBook", "Rate", "Reason", "TierFactor", "hourly_of_card", "hourly_of_month", "is_border",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A price as it applies to a card or instance in one rating interval.

    unit         of the price: says what the quantity of a line counts
    unit_amount  micros of one unit, as the book states it (times the tier's factor and the discount)
    hourly       micros of one hour of the device (a card, or one instance for `instance-hour`)
    units        quantity of one hour of the device: 1, or the card's part of its node for `node-hour`; so
                 quantity = device time × units, and an hour of the unit costs hourly / units
    """

    unit: str
    unit_amount: Fraction
    hourly: Fraction
    units: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a holder pays what he pays. All that matched, in order of precedence: the first of each applies.

    listed   entries that can be the card's own price; empty: the time is unpriced, whatever else matched
    chosen   entries that can be the holder's price
    factors  of the tier; they apply only to a price that names no tier
    """

    listed: tuple[Price, ...]
    chosen: tuple[Price, ...]
    factors: tuple[TierFactor, ...]
    discounts: tuple[Discount, ...]
    list_rate: Rate | None
    rate: Rate | None


class PriceBook:
    """One version of the book. Entries of the same key never overlap (`files/prices.py` checks that)."""

    def __init__(
        self,
        prices: Iterable[Price],
        factors: Iterable[TierFactor] = (),
        *,
        discounts: Iterable[Discount] = (),
        classes: Iterable[ClassTier] = (),
        version: int = 0,
        timezone: str = "UTC",
    ) -> None:
        self.version = version
        self.timezone = timezone
        self.prices = tuple(prices)
        self.factors = tuple(factors)
        self.discounts = tuple(discounts)
        self.classes = tuple(classes)
        self._ranked_factors = sorted(self.factors, key=lambda factor: factor.rank)
        self._ranked_discounts = sorted(self.discounts, key=lambda discount: discount.rank)
        ranked = sorted(self.prices, key=lambda price: price.rank)
        places: dict[str | None, list[int]] = {None: []}
        for number, price in enumerate(ranked):
            places.setdefault(price.model, []).append(number)
        of_any = places.pop(None)
        self._of_any = [ranked[number] for number in of_any]
        self._of = {model: [ranked[number] for number in sorted((*of_any, *own))] for model, own in places.items()}

    def list_rate(self, asked: Asked) -> Rate | None:
        """The card's own price, whoever holds it; None: unpriced."""
        price = next(self._listed(asked), None)
        return None if price is None else self._rate(price, Fraction(1), asked)

    def holder_rate(self, asked: Asked) -> Rate | None:
        """What the holder pays, or the owner of a guaranteed device; None where the card has no price of its own."""
        return self._holders(self._chosen(asked), asked)

    def tier_of_class(self, priority_class: str, at_ms: int) -> str | None:
        """The tier of a PriorityClass's pods; None where the book does not say."""
        for each in self.classes:
            if each.priority_class == priority_class and each.holds(at_ms):
                return each.tier
        return None

    def why(self, asked: Asked) -> Reason:
        """Everything that matched, and what comes out: the same that the rates above say."""
        chosen = tuple(self._chosen(asked))
        return Reason(
            listed=tuple(self._listed(asked)),
            chosen=chosen,
            factors=tuple(self._factors(asked)),
            discounts=tuple(self._discounts(asked)),
            list_rate=self.list_rate(asked),
            rate=self._holders(iter(chosen), asked),
        )

    @property
    def entries(self) -> tuple[Entry, ...]:
        return (*self.prices, *self.factors, *self.discounts, *self.classes)

    def _at(self, asked: Asked) -> Iterator[Price]:
        """What holds there, least rank first."""
        ranked: Sequence[Price] = self._of.get(asked.model, self._of_any)
        return (price for price in ranked if price.holds(asked.start_ms) and price.is_at(asked.place, asked.card))

    def _listed(self, asked: Asked) -> Iterator[Price]:
        return (price for price in self._at(asked) if price.is_list)

    def _chosen(self, asked: Asked) -> Iterator[Price]:
        return (
            price
            for price in self._at(asked)
            if price.profile in (None, asked.profile)
            and price.tier in (None, asked.tier)
            and (price.sharing is None or (price.sharing == SHARED) == asked.shared)
            and (asked.reserved or price.term != RESERVED)
        )

    def _factors(self, asked: Asked) -> Iterator[TierFactor]:
        holding = (each for each in self._ranked_factors if each.holds(asked.start_ms))
        return (each for each in holding if each.matches(asked.tier, asked.model, asked.place))

    def _discounts(self, asked: Asked) -> Iterator[Discount]:
        holding = (each for each in self._ranked_discounts if each.holds(asked.start_ms))
        return (each for each in holding if each.matches(asked.cost_center, asked.model, asked.place))

    def _holders(self, chosen: Iterator[Price], asked: Asked) -> Rate | None:
        if next(self._listed(asked), None) is None:
            return None
        price = next(chosen)  # the card's own price is among them
        factor = Fraction(1)
        if price.tier is None and (found := next(self._factors(asked), None)):
            factor = found.factor
        if discount := next(self._discounts(asked), None):
            factor *= discount.factor
        return self._rate(price, factor, asked)

    def _rate(self, price: Price, factor: Fraction, asked: Asked) -> Rate:
        unit_amount, units = price.amount * factor, Fraction(1)
        hourly = unit_amount
        if price.unit == GPU_MONTH:
            hourly = hourly_of_month(unit_amount, asked.start_ms, asked.end_ms, self.timezone)
        elif price.unit == NODE_HOUR:
            cards = asked.place.cards
            units = Fraction(1, len(cards))
            number = cards.index(asked.card)
            hourly = hourly_of_card(unit_amount, number, len(cards), asked.start_ms, asked.end_ms)
        return Rate(unit=price.unit, unit_amount=unit_amount, hourly=hourly, units=units)


def is_border(at_ms: int, timezone: str) -> bool:
    """Whether prices and policy may change here: a whole UTC hour or a local midnight."""
    return at_ms % HOUR_MS == 0 or at_ms == midnight_ms(local_day(at_ms, timezone), timezone)
