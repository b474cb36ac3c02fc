"""What an hour of a device costs, and a part of it: by the rules of docs/prices.md and docs/arithmetic.md, once more.

Micros are millionths of the currency. A device costs its part of the card, unless its MIG profile has a price of its
own; one of its N shares for a while is the device for an Nth of that while.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from tests.proof.witness.testimony import Hold, Plan, Price, Prices, Told

HOUR_MS = 3_600_000
RESERVED = "reserved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hourly:
    """Micros of an hour of a device: at the card's own price, and at what its holder pays.

    unit  how much of a card the holder's price is for: all of it, or the instance whose profile it names
    """

    listed: Fraction
    amount: Fraction
    unit: Fraction


class Tariff:
    """One price book."""

    def __init__(self, book: Prices) -> None:
        self._book = book

    def card(self, model: str) -> Fraction | None:
        """The card's own price; None: it has none, and its time is unpriced."""
        own = [
            each for each in self._book.prices if each.model == model and not (each.profile or each.tier or each.term)
        ]
        return Fraction(own[0].micros) if own else None

    def of(self, hold: Hold, term: str | None = None) -> Hourly | None:
        """What the hold's device costs; None: its card has no price."""
        listed = self.card(hold.model)
        if listed is None:
            return None
        price = self._price(hold.model, hold.profile, hold.tier, term)
        whole = Fraction(1) if price.profile else hold.whole
        factor = self._factor(price, hold.tier) * self._discount(hold.account)
        unit = hold.whole if price.profile else Fraction(1)
        return Hourly(listed=listed * hold.whole, amount=price.micros * whole * factor, unit=unit)

    def unit(self, plan: Plan, account: str, tier: str | None) -> Fraction | None:
        """What an hour of a unit of the plan costs, held or not; None: it has no price."""
        if self.card(plan.model) is None:
            return None
        price = self._price(plan.model, None, tier, RESERVED)
        return price.micros * self._factor(price, tier) * self._discount(account)

    def _price(self, model: str, profile: str | None, tier: str | None, term: str | None) -> Price:
        """The first of those that match: by term, then by profile and tier, profile, tier, neither."""
        matching = [
            each
            for each in self._book.prices
            if each.model == model
            and each.profile in (None, profile)
            and each.tier in (None, tier)
            and each.term in (None, term)
        ]
        return min(matching, key=lambda each: (each.term is None, each.profile is None, each.tier is None))

    def _factor(self, price: Price, tier: str | None) -> Fraction:
        if price.tier is not None or tier is None:
            return Fraction(1)
        return dict(self._book.factors).get(tier, Fraction(1))

    def _discount(self, account: str) -> Fraction:
        return dict(self._book.discounts).get(account, Fraction(1))


class Tariffs:
    """The price books one after the other: each holds from the hour in which it was told, the first from ever."""

    def __init__(self, told: Iterable[Told]) -> None:
        books = sorted((each for each in told if isinstance(each, Prices)), key=lambda each: each.at_ms)
        self._books = [(each.at_ms // HOUR_MS, Tariff(each)) for each in books]

    def at(self, at_ms: int) -> Tariff:
        """The last that was told by the end of that hour."""
        if not self._books:
            return Tariff(Prices(at_ms=at_ms, prices=()))
        told = [tariff for hour, tariff in self._books if hour <= at_ms // HOUR_MS]
        return told[-1] if told else self._books[0][1]


def hours(from_ms: int, until_ms: int) -> Iterator[tuple[int, int]]:
    """A span in pieces that each lie in one hour."""
    while from_ms < until_ms:
        end_ms = min(until_ms, (from_ms // HOUR_MS + 1) * HOUR_MS)
        yield from_ms, end_ms
        from_ms = end_ms


def exact(hourly: Fraction, ms: Fraction | int) -> Fraction:
    """What so many milliseconds cost, in micros and their parts."""
    return hourly * ms / HOUR_MS


def telescoped(hourly: Fraction, before_ms: Fraction | int, ms: Fraction | int) -> int:
    """Whole micros: E(b) - E(a), each rounded down, where before_ms lie between the hour's start and a."""
    return exact(hourly, before_ms + ms) // 1 - exact(hourly, before_ms) // 1
