"""Entries of a price book that are valid and can never apply: most likely a slip of the pen."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from chargeback.core.prices.book import PriceBook
from chargeback.core.prices.entries import Discount, TierFactor, name_of


def warnings(book: PriceBook, node_labels: Collection[str]) -> Iterator[str]:
    """One a line, with its place in the file. node_labels: keys that are read from nodes (`--node-labels`)."""
    for i, price in enumerate(book.prices):
        place = f"prices[{i}]: {name_of(price)}"
        for key, _ in price.node_labels:
            if key not in node_labels:
                known = ", ".join(sorted(node_labels)) or "none"
                yield f"{place}: node_labels.{key}: is not read from nodes: want it in --node-labels ({known})"
        if not price.is_list and not any(each.is_list and each.meets(price) for each in book.prices):
            yield f"{place}: never applies: the card itself has no price then and there, so its time is unpriced"
    sections: tuple[tuple[str, Sequence[TierFactor | Discount]], ...] = (
        ("tiers", book.factors),
        ("discounts", book.discounts),
    )
    for section, entries in sections:
        for i, entry in enumerate(entries):
            if not any(each.is_list and each.meets(entry) for each in book.prices):
                yield f"{section}[{i}]: {name_of(entry)}: never applies: no card has a price then and there"
    tiers = {price.tier for price in book.prices} | {factor.tier for factor in book.factors}
    for i, each in enumerate(book.classes):
        if each.tier not in tiers:
            yield f"priority_classes[{i}]: {name_of(each)}: tier {each.tier}: has neither a price nor a factor"
