"""The price book as people write it: one YAML file, all its problems reported at once. See docs/prices.md.

```yaml
currency: USD
prices:
  - {model: NVIDIA H100 80GB HBM3, price: "2.50", unit: gpu-hour}
  - {model: NVIDIA H100 80GB HBM3, profile: 1g.10gb, price: "0.40", unit: instance-hour, from: 2026-10-01}
tiers:
  - {tier: best-effort, factor: "0.8"}
```
Every price states its unit. `from` and `until` are half-open and lie on whole UTC hours or local midnights.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import yaml

from chargeback.core.hours import format_instant
from chargeback.core.prices.book import PriceBook
from chargeback.core.prices.entries import ClassTier, Discount, Entry, Price, TierFactor, name_of
from chargeback.files.plain_yaml import PlainLoader, take_nulls
from chargeback.files.price_reader import Reader

# The name that stands for the list prices inside the package, instead of a file's.
BUILT_IN = "default"

SECTIONS = ("prices", "tiers", "discounts", "priority_classes")

E = TypeVar("E", bound=Entry)


class PriceFileError(ValueError):
    """What is wrong with a price file: one problem a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceFile:
    """A parsed file. text: as it was read, for the ledger to keep."""

    currency: str
    prices: tuple[Price, ...]
    factors: tuple[TierFactor, ...]
    discounts: tuple[Discount, ...]
    classes: tuple[ClassTier, ...]
    text: str

    def book(self, *, version: int, timezone: str) -> PriceBook:
        return PriceBook(
            self.prices,
            self.factors,
            discounts=self.discounts,
            classes=self.classes,
            version=version,
            timezone=timezone,
        )


def read_price_file(name: str, timezone: str = "UTC") -> PriceFile:
    """Read and check a price file. Raises PriceFileError, OSError."""
    if name == BUILT_IN:
        return parse_prices(files("chargeback").joinpath("default_prices.yaml").read_text(), BUILT_IN, timezone)
    try:
        text = Path(name).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PriceFileError(f"{name}: {error}: want UTF-8") from error
    return parse_prices(text, name, timezone)


def parse_prices(text: str, name: str, timezone: str = "UTC") -> PriceFile:
    """Parse and check. Raises PriceFileError that lists every problem with its place."""
    problems: list[str] = []
    try:
        root = yaml.compose(text, Loader=PlainLoader)
        problems += [] if root is None else [f"{at}: null: want a value, or no such key" for at in take_nulls(root)]
        data = None if root is None else PlainLoader("").construct_document(root)
    except yaml.YAMLError as error:
        raise PriceFileError(f"{name}: not YAML: {error}") from error
    if root is None or not isinstance(data, Mapping):
        raise PriceFileError(f"{name}: want a mapping with currency, {', '.join(SECTIONS)}")
    reader = Reader(timezone, problems)
    reader.unknown_keys(data, "", {"currency", *SECTIONS})
    currency = str(data.get("currency", ""))
    if not (len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()):
        problems.append(f"currency: {currency!r}: want an ISO 4217 code such as USD")
    prices = [(place, reader.price(entry, place)) for entry, place in reader.entries(data, "prices")]
    factors = [(place, reader.factor(entry, place)) for entry, place in reader.entries(data, "tiers")]
    discounts = [(place, reader.discount(entry, place)) for entry, place in reader.entries(data, "discounts")]
    classes = [
        (place, reader.priority_class(entry, place)) for entry, place in reader.entries(data, "priority_classes")
    ]
    for section in (prices, factors, discounts, classes):
        problems += _overlaps(section)
    if problems:
        raise PriceFileError("\n".join(f"{name}: {problem}" for problem in problems))
    return PriceFile(
        currency=currency,
        prices=_read(prices),
        factors=_read(factors),
        discounts=_read(discounts),
        classes=_read(classes),
        text=text,
    )


def _read(section: Sequence[tuple[str, E | None]]) -> tuple[E, ...]:
    return tuple(entry for _, entry in section if entry is not None)


def _overlaps(section: Sequence[tuple[str, Entry | None]]) -> list[str]:
    """Two entries of the same key must not hold at once: which would apply?"""
    found = []
    kept = [(place, entry) for place, entry in section if entry is not None]
    kept.sort(key=lambda each: (each[1].key, each[1].from_ms))
    for (place, entry), (next_place, after) in itertools.pairwise(kept):
        if entry.key == after.key and (entry.until_ms is None or after.from_ms < entry.until_ms):
            found.append(
                f"{name_of(entry)}: two entries hold at {format_instant(after.from_ms)}, {place} and {next_place}: "
                "want an `until` on the earlier one"
            )
    return found
