"""The price book: dated prices, and which of them applies.

Order: model and profile and tier, model and profile, model and tier, model; a tier's factor applies to what the
tier does not price itself. Without the model's own price its time is unpriced, whatever else is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from chargeback.core.hours import HOUR_MS, local_day, midnight_ms, month_span_ms
from chargeback.core.money import MS_PER_HOUR, whole_micros

GPU_HOUR, INSTANCE_HOUR, GPU_MONTH = "gpu-hour", "instance-hour", "gpu-month"
UNITS = (GPU_HOUR, INSTANCE_HOUR, GPU_MONTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """An entry of the book, valid in [from_ms, until_ms). amount: micros of a unit."""

    model: str
    unit: str
    amount: Fraction
    profile: str | None = None
    tier: str | None = None
    from_ms: int = 0
    until_ms: int | None = None

    def holds(self, at_ms: int) -> bool:
        return self.from_ms <= at_ms and (self.until_ms is None or at_ms < self.until_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class TierFactor:
    tier: str
    factor: Fraction
    from_ms: int = 0
    until_ms: int | None = None

    def holds(self, at_ms: int) -> bool:
        return self.from_ms <= at_ms and (self.until_ms is None or at_ms < self.until_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A price as it applies in one rating interval.

    unit         of the price: says what the quantity of a line counts
    unit_amount  micros of one unit, as the book states it (times the tier's factor)
    hourly       micros of one hour of the device (a card, or one instance for `instance-hour`)
    """

    unit: str
    unit_amount: Fraction
    hourly: Fraction


class PriceBook:
    """One version of the book. Entries of the same key never overlap (`price_file.py` checks that)."""

    def __init__(
        self,
        prices: Iterable[Price],
        factors: Iterable[TierFactor] = (),
        *,
        version: int = 0,
        timezone: str = "UTC",
    ) -> None:
        self.version = version
        self.prices = tuple(prices)
        self.factors = tuple(factors)
        self._timezone = timezone
        self._of: dict[tuple[str, str | None, str | None], list[Price]] = {}
        for price in self.prices:
            self._of.setdefault((price.model, price.profile, price.tier), []).append(price)

    def list_rate(self, model: str, start_ms: int, end_ms: int) -> Rate | None:
        """The card's own price in a rating interval; None: unpriced."""
        price = self._find(model, None, None, start_ms)
        return None if price is None else self._rate(price, Fraction(1), start_ms, end_ms)

    def holder_rate(
        self, model: str, profile: str | None, tier: str | None, start_ms: int, end_ms: int
    ) -> Rate | None:
        """What a holder of this tier pays in a rating interval; None where the model has no price of its own."""
        own = self._find(model, None, None, start_ms)
        if own is None:
            return None
        closer = (self._find(model, *key, start_ms) for key in ((profile, tier), (profile, None), (None, tier)))
        price = next((price for price in closer if price is not None), own)
        factor = self._factor(tier, start_ms) if price.tier is None else Fraction(1)
        return self._rate(price, factor, start_ms, end_ms)

    def borders(self) -> list[int]:
        """Every instant at which something in the book begins or ends."""
        dated: tuple[Price | TierFactor, ...] = (*self.prices, *self.factors)
        return sorted({at for entry in dated for at in (entry.from_ms, entry.until_ms) if at is not None})

    def _find(self, model: str, profile: str | None, tier: str | None, at_ms: int) -> Price | None:
        for price in self._of.get((model, profile, tier), ()):
            if price.holds(at_ms):
                return price
        return None

    def _factor(self, tier: str | None, at_ms: int) -> Fraction:
        for factor in self.factors:
            if factor.tier == tier and factor.holds(at_ms):
                return factor.factor
        return Fraction(1)

    def _rate(self, price: Price, factor: Fraction, start_ms: int, end_ms: int) -> Rate:
        unit_amount = price.amount * factor
        hourly = unit_amount
        if price.unit == GPU_MONTH:
            hourly = hourly_of_month(unit_amount, start_ms, end_ms, self._timezone)
        return Rate(unit=price.unit, unit_amount=unit_amount, hourly=hourly)


def hourly_of_month(month_price: Fraction, start_ms: int, end_ms: int, timezone: str) -> Fraction:
    """The hourly price in [start, end) of a price for the local month: over all its hours it sums exactly.

    Hour k of a month of H hours costs ⌊P(k+1)/H⌋ − ⌊Pk/H⌋; a part of an hour likewise, by its milliseconds.
    """
    month_start, month_end = month_span_ms(local_day(start_ms, timezone).isoformat()[:7], timezone)
    length = month_end - month_start
    part = whole_micros(month_price * (end_ms - month_start) / length) - whole_micros(
        month_price * (start_ms - month_start) / length
    )
    return Fraction(part * MS_PER_HOUR, end_ms - start_ms)


def is_border(at_ms: int, timezone: str) -> bool:
    """Whether prices and policy may change here: a whole UTC hour or a local midnight."""
    return at_ms % HOUR_MS == 0 or at_ms == midnight_ms(local_day(at_ms, timezone), timezone)
