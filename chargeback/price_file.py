"""The price book as people write it: one YAML file, all its problems reported at once.

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
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from chargeback.core.hours import format_instant, parse_instant
from chargeback.core.money import MICROS, parse_decimal
from chargeback.core.prices import INSTANCE_HOUR, UNITS, Price, PriceBook, TierFactor, is_border

# The name that stands for the list prices inside the package, instead of a file's.
BUILT_IN = "default"


class PriceFileError(ValueError):
    """What is wrong with a price file: one problem a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceFile:
    """A parsed file. text: as it was read, for the ledger to keep."""

    currency: str
    prices: tuple[Price, ...]
    factors: tuple[TierFactor, ...]
    text: str

    def book(self, *, version: int, timezone: str) -> PriceBook:
        return PriceBook(self.prices, self.factors, version=version, timezone=timezone)


def read_price_file(name: str, timezone: str = "UTC") -> PriceFile:
    """Read and check a price file. Raises PriceFileError, OSError."""
    if name == BUILT_IN:
        return parse_prices(files("chargeback").joinpath("default_prices.yaml").read_text(), BUILT_IN, timezone)
    return parse_prices(Path(name).read_text(encoding="utf-8"), name, timezone)


def parse_prices(text: str, name: str, timezone: str = "UTC") -> PriceFile:
    """Parse and check. Raises PriceFileError that lists every problem with its place."""
    problems: list[str] = []
    try:
        # Scalars stay text: a price must never pass through a float.
        data = yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise PriceFileError(f"{name}: not YAML: {error}") from error
    if not isinstance(data, Mapping):
        raise PriceFileError(f"{name}: want a mapping with currency, prices and tiers")
    reader = _Reader(timezone, problems)
    reader.unknown_keys(data, "", {"currency", "prices", "tiers"})
    currency = str(data.get("currency", ""))
    if not (len(currency) == 3 and currency.isalpha() and currency.isupper()):
        problems.append(f"currency: {currency!r}: want an ISO 4217 code such as USD")
    prices = [reader.price(entry, f"prices[{i}]") for i, entry in enumerate(reader.entries(data, "prices"))]
    factors = [reader.factor(entry, f"tiers[{i}]") for i, entry in enumerate(reader.entries(data, "tiers"))]
    kept = [price for price in prices if price is not None]
    tiers = [factor for factor in factors if factor is not None]
    problems += _overlaps([((p.model, p.profile, p.tier), p.from_ms, p.until_ms) for p in kept])
    problems += _overlaps([(("tier", f.tier), f.from_ms, f.until_ms) for f in tiers])
    if problems:
        raise PriceFileError("\n".join(f"{name}: {problem}" for problem in problems))
    return PriceFile(currency=currency, prices=tuple(kept), factors=tuple(tiers), text=text)


class _Reader:
    """Reads entries, collecting problems; an entry with a problem is None."""

    def __init__(self, timezone: str, problems: list[str]) -> None:
        self._timezone = timezone
        self._problems = problems

    def entries(self, data: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
        listed = data.get(key) or []
        if not isinstance(listed, Sequence) or isinstance(listed, str):
            self._problems.append(f"{key}: want a list")
            return []
        for i, entry in enumerate(listed):
            if not isinstance(entry, Mapping):
                self._problems.append(f"{key}[{i}]: {entry!r}: want a mapping")
        return [entry for entry in listed if isinstance(entry, Mapping)]

    def unknown_keys(self, entry: Mapping[str, Any], place: str, known: set[str]) -> None:
        for key in entry.keys() - known:
            self._problems.append(f"{place}{key}: not a key of this file, want one of {', '.join(sorted(known))}")

    def price(self, entry: Mapping[str, Any], place: str) -> Price | None:
        before = len(self._problems)
        self.unknown_keys(entry, f"{place}.", {"model", "profile", "tier", "price", "unit", "from", "until"})
        model, unit = self._text(entry, "model", place), str(entry.get("unit", ""))
        profile, tier = entry.get("profile") or None, entry.get("tier") or None
        if unit not in UNITS:
            self._problems.append(f"{place}.unit: {unit!r}: want one of {', '.join(UNITS)}")
        elif (unit == INSTANCE_HOUR) != (profile is not None):
            self._problems.append(f"{place}.unit: {unit!r}: a MIG profile is priced by instance-hour, a card is not")
        amount = self._decimal(entry, "price", place)
        from_ms, until_ms = self._validity(entry, place)
        if len(self._problems) > before or amount is None or model is None:
            return None
        return Price(
            model=model,
            unit=unit,
            amount=amount * MICROS,
            profile=profile,
            tier=tier,
            from_ms=from_ms,
            until_ms=until_ms,
        )

    def factor(self, entry: Mapping[str, Any], place: str) -> TierFactor | None:
        before = len(self._problems)
        self.unknown_keys(entry, f"{place}.", {"tier", "factor", "from", "until"})
        tier, factor = self._text(entry, "tier", place), self._decimal(entry, "factor", place)
        from_ms, until_ms = self._validity(entry, place)
        if len(self._problems) > before or factor is None or tier is None:
            return None
        return TierFactor(tier=tier, factor=factor, from_ms=from_ms, until_ms=until_ms)

    def _text(self, entry: Mapping[str, Any], key: str, place: str) -> str | None:
        if not (value := entry.get(key)) or not isinstance(value, str):
            self._problems.append(f"{place}.{key}: missing")
            return None
        return value

    def _decimal(self, entry: Mapping[str, Any], key: str, place: str) -> Fraction | None:
        try:
            value = parse_decimal(str(entry.get(key, "")))
        except ValueError as error:
            self._problems.append(f"{place}.{key}: {error}")
            return None
        if value < 0:
            self._problems.append(f"{place}.{key}: {entry[key]!r}: want zero or more")
        return value

    def _validity(self, entry: Mapping[str, Any], place: str) -> tuple[int, int | None]:
        from_ms = self._border(entry, "from", place) or 0
        until_ms = self._border(entry, "until", place)
        if until_ms is not None and until_ms <= from_ms:
            self._problems.append(f"{place}.until: {entry['until']!r}: want an instant after `from`")
        return from_ms, until_ms

    def _border(self, entry: Mapping[str, Any], key: str, place: str) -> int | None:
        if not (text := entry.get(key)):
            return None
        try:
            at_ms = parse_instant(str(text), self._timezone)
        except ValueError as error:
            self._problems.append(f"{place}.{key}: {error}")
            return None
        if not is_border(at_ms, self._timezone):
            self._problems.append(f"{place}.{key}: {text!r}: want a whole UTC hour or a midnight of {self._timezone}")
        return at_ms


def _overlaps(entries: Sequence[tuple[tuple[str | None, ...], int, int | None]]) -> list[str]:
    """Two entries of the same key must not hold at once: which would apply?"""
    found = []
    ordered = sorted(entries, key=lambda entry: (tuple(part or "" for part in entry[0]), entry[1]))
    for (key, _, until), (next_key, next_from, _) in itertools.pairwise(ordered):
        if key == next_key and (until is None or next_from < until):
            name = " / ".join(part for part in key if part)
            found.append(
                f"{name}: two entries hold at {format_instant(next_from)}: want an `until` on the earlier one"
            )
    return found
