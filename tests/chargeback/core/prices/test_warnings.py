"""Entries that can never apply, among few and among many."""

from __future__ import annotations

import itertools
import time
from fractions import Fraction

from chargeback.core.prices.book import GPU_HOUR, NODE_HOUR, Price, PriceBook, TierFactor
from chargeback.core.prices.warnings import warnings

DAYS = (0, 1, 2, 3)
SPANS = [(begin, end) for begin, end in itertools.product(DAYS, (*DAYS[1:], None)) if end is None or begin < end]
ENOUGH_CPU_S = 5.0


def price(model: str | None = "X", from_ms: int = 0, until_ms: int | None = None, tier: str | None = None) -> Price:
    unit = NODE_HOUR if model is None else GPU_HOUR
    return Price(model=model, unit=unit, amount=Fraction(1), tier=tier, from_ms=from_ms, until_ms=until_ms)


def test_what_never_applies_is_what_meets_no_price_of_a_card() -> None:
    """Of every two spans of a card's price, and every span and model of what is to meet them."""
    for first, second in itertools.combinations(SPANS, 2):
        listed = [price("X", *first), price("Y" if first[0] % 2 else None, *second)]
        asked = [price(model, *span, tier="t") for model in ("X", "Y", "Z") for span in SPANS]
        factors = [TierFactor(tier="t", factor=Fraction(1), from_ms=begin, until_ms=end) for begin, end in SPANS]
        found = [each.partition(":")[0] for each in warnings(PriceBook([*listed, *asked], factors), ())]
        named = [(f"prices[{number + 2}]", each) for number, each in enumerate(asked)]
        named += [(f"tiers[{number}]", each) for number, each in enumerate(factors)]
        assert found == [name for name, each in named if not any(card.meets(each) for card in listed)]


def test_a_book_of_thousands_is_judged_in_seconds() -> None:
    """Each entry was compared with every other: thousands of models, and a model whose price changes every hour."""
    models = [price(f"M{number}", tier=tier) for number in range(2500) for tier in (None, "t")]
    hours = [price("X", number, number + 1, tier) for number in range(2500) for tier in (None, "t")]
    began = time.process_time()
    assert list(warnings(PriceBook([*models, *hours]), ())) == []
    assert time.process_time() - began < ENOUGH_CPU_S
