"""Entries of a price book that are valid and can never apply: most likely a slip of the pen."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate

from chargeback.core.prices.book import PriceBook
from chargeback.core.prices.entries import Discount, Price, TierFactor, name_of

# Later than any instant, in unix ms.
_EVER_MS = 2**63


def warnings(book: PriceBook, node_labels: Collection[str]) -> Iterator[str]:
    """One a line, with its place in the file. node_labels: keys that are read from nodes (`--node-labels`)."""
    cards = _CardPrices(book.prices)
    for i, price in enumerate(book.prices):
        place = f"prices[{i}]: {name_of(price)}"
        for key, _ in price.node_labels:
            if key not in node_labels:
                known = ", ".join(sorted(node_labels)) or "none"
                yield f"{place}: node_labels.{key}: is not read from nodes: want it in --node-labels ({known})"
        if not price.is_list and not cards.meet(price):
            yield f"{place}: never applies: the card itself has no price then and there, so its time is unpriced"
    sections: tuple[tuple[str, Sequence[TierFactor | Discount]], ...] = (
        ("tiers", book.factors),
        ("discounts", book.discounts),
    )
    for section, entries in sections:
        for i, entry in enumerate(entries):
            if not cards.meet(entry):
                yield f"{section}[{i}]: {name_of(entry)}: never applies: no card has a price then and there"
    tiers = {price.tier for price in book.prices} | {factor.tier for factor in book.factors}
    for i, each in enumerate(book.classes):
        if each.tier not in tiers:
            yield f"priority_classes[{i}]: {name_of(each)}: tier {each.tier}: has neither a price nor a factor"


class _CardPrices:
    """Cards' own prices by model, each in the order in which they begin: a book may have thousands of entries."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._of: dict[str | None, list[Price]] = {}
        for price in sorted((each for each in prices if each.is_list), key=lambda each: each.from_ms):
            self._of.setdefault(price.model, []).append(price)
        # Up to when one of those so far holds.
        self._until_ms = {
            model: list(accumulate((_EVER_MS if each.until_ms is None else each.until_ms for each in of_model), max))
            for model, of_model in self._of.items()
        }

    def meet(self, entry: Price | TierFactor | Discount) -> bool:
        """Whether there may be a card, and an instant, that the entry and one of these are for."""
        models = self._of if entry.model is None else (entry.model, None)
        return any(price.meets(entry) for model in models for price in self._later(model, entry.from_ms))

    def _later(self, model: str | None, from_ms: int) -> Iterator[Price]:
        """Without those before the first that holds at from_ms or later."""
        of_model = self._of.get(model, [])
        for number in range(bisect_right(self._until_ms.get(model, []), from_ms), len(of_model)):
            yield of_model[number]
