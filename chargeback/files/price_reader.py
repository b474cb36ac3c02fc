"""Reads the entries of a price file, collecting every problem with its place, what was seen and what is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from chargeback.core.hours import parse_instant
from chargeback.core.money import MICROS, parse_decimal
from chargeback.core.owners.owners import check_label_key, check_name
from chargeback.core.prices.book import is_border
from chargeback.core.prices.entries import (
    INSTANCE_HOUR,
    NODE_HOUR,
    SHARINGS,
    TERMS,
    UNITS,
    ClassTier,
    Discount,
    Labels,
    Price,
    TierFactor,
)

DATED = {"from", "until"}
PRICE = {"model", "profile", "tier", "sharing", "term", "cluster", "pool", "node_labels", "price", "unit"} | DATED
FACTOR = {"tier", "factor", "model", "cluster", "pool"} | DATED
DISCOUNT = {"cost_center", "factor", "contract", "model", "cluster"} | DATED
CLASS = {"priority_class", "tier"} | DATED

# Digits after the point of a factor: what prices, tiers and discounts come to is written out in full.
FACTOR_DIGITS = 6


class Reader:
    """Of one file. A method that reads an entry gives None where it has a problem."""

    def __init__(self, timezone: str, problems: list[str]) -> None:
        self._timezone = timezone
        self._problems = problems

    def entries(self, data: Mapping[str, Any], section: str) -> Iterator[tuple[Mapping[str, Any], str]]:
        """Each entry of a section, and its place."""
        listed = data.get(section) or []
        if not isinstance(listed, Sequence) or isinstance(listed, str):
            self._problems.append(f"{section}: want a list")
            return
        for i, entry in enumerate(listed):
            place = f"{section}[{i}]"
            if isinstance(entry, Mapping):
                yield entry, place
            else:
                self._problems.append(f"{place}: {entry!r}: want a mapping")

    def unknown_keys(self, entry: Mapping[str, Any], place: str, known: set[str]) -> None:
        for key in entry.keys() - known:
            self._problems.append(f"{place}{key}: not a key of this file, want one of {', '.join(sorted(known))}")

    def price(self, entry: Mapping[str, Any], place: str) -> Price | None:
        before = len(self._problems)
        self.unknown_keys(entry, f"{place}.", PRICE)
        unit, profile = str(entry.get("unit", "")), self._text(entry, "profile", place)
        if unit not in UNITS:
            self._problems.append(f"{place}.unit: {unit!r}: want one of {', '.join(UNITS)}")
        elif (unit == INSTANCE_HOUR) != (profile is not None):
            self._problems.append(f"{place}.unit: {unit!r}: a MIG profile is priced by instance-hour, a card is not")
        amount = self._decimal(entry, "price", place)
        from_ms, until_ms = self._validity(entry, place)
        price = Price(
            model=self._text(entry, "model", place, required=unit != NODE_HOUR),
            unit=unit,
            amount=amount * MICROS,
            profile=profile,
            tier=self._text(entry, "tier", place),
            sharing=self._one_of(entry, "sharing", place, SHARINGS),
            term=self._one_of(entry, "term", place, TERMS),
            cluster=self._text(entry, "cluster", place),
            pool=self._text(entry, "pool", place),
            node_labels=self._labels(entry, place),
            from_ms=from_ms,
            until_ms=until_ms,
        )
        return None if len(self._problems) > before else price

    def factor(self, entry: Mapping[str, Any], place: str) -> TierFactor | None:
        before = len(self._problems)
        self.unknown_keys(entry, f"{place}.", FACTOR)
        from_ms, until_ms = self._validity(entry, place)
        factor = TierFactor(
            tier=self._text(entry, "tier", place, required=True) or "",
            factor=self._decimal(entry, "factor", place, FACTOR_DIGITS),
            model=self._text(entry, "model", place),
            cluster=self._text(entry, "cluster", place),
            pool=self._text(entry, "pool", place),
            from_ms=from_ms,
            until_ms=until_ms,
        )
        return None if len(self._problems) > before else factor

    def discount(self, entry: Mapping[str, Any], place: str) -> Discount | None:
        before = len(self._problems)
        self.unknown_keys(entry, f"{place}.", DISCOUNT)
        from_ms, until_ms = self._validity(entry, place)
        discount = Discount(
            cost_center=self._cost_center(entry, place),
            factor=self._decimal(entry, "factor", place, FACTOR_DIGITS),
            contract=self._text(entry, "contract", place),
            model=self._text(entry, "model", place),
            cluster=self._text(entry, "cluster", place),
            from_ms=from_ms,
            until_ms=until_ms,
        )
        return None if len(self._problems) > before else discount

    def priority_class(self, entry: Mapping[str, Any], place: str) -> ClassTier | None:
        before = len(self._problems)
        self.unknown_keys(entry, f"{place}.", CLASS)
        from_ms, until_ms = self._validity(entry, place)
        found = ClassTier(
            priority_class=self._text(entry, "priority_class", place, required=True) or "",
            tier=self._text(entry, "tier", place, required=True) or "",
            from_ms=from_ms,
            until_ms=until_ms,
        )
        return None if len(self._problems) > before else found

    def _text(self, entry: Mapping[str, Any], key: str, place: str, *, required: bool = False) -> str | None:
        """None where the key is not there. One that says nothing would be for all there is, which nobody wrote."""
        if key not in entry:
            if required:
                self._problems.append(f"{place}.{key}: missing")
            return None
        value = entry[key]
        if isinstance(value, str) and value:
            return value
        self._problems.append(f"{place}.{key}: {value!r}: want a text")
        return None

    def _cost_center(self, entry: Mapping[str, Any], place: str) -> str:
        name = self._text(entry, "cost_center", place, required=True)
        try:
            return "" if name is None else check_name(name)
        except ValueError as error:
            self._problems.append(f"{place}.cost_center: {name!r}: {error}")
            return ""

    def _one_of(self, entry: Mapping[str, Any], key: str, place: str, values: Sequence[str]) -> str | None:
        text = self._text(entry, key, place)
        if text is not None and text not in values:
            self._problems.append(f"{place}.{key}: {text!r}: want one of {', '.join(values)}")
        return text

    def _labels(self, entry: Mapping[str, Any], place: str) -> Labels:
        found = entry.get("node_labels", {})
        if not isinstance(found, Mapping):
            self._problems.append(f"{place}.node_labels: {found!r}: want a mapping of label keys to values")
            return ()
        for key, value in found.items():
            at = f"{place}.node_labels.{key}"
            try:
                check_label_key(key)
            except ValueError as error:
                self._problems.append(f"{at}: {error}")
            if not isinstance(value, str) or not value:
                self._problems.append(f"{at}: {value!r}: want a text")
        return tuple(sorted((key, str(value)) for key, value in found.items()))

    def _decimal(self, entry: Mapping[str, Any], key: str, place: str, digits: int | None = None) -> Fraction:
        """Zero or more, with at most so many digits after the point; zero where there is a problem."""
        text = entry.get(key, "")
        try:
            value = parse_decimal(str(text))
        except ValueError as error:
            self._problems.append(f"{place}.{key}: {error}")
            return Fraction(0)
        if value < 0:
            self._problems.append(f"{place}.{key}: {text!r}: want zero or more")
        if digits is not None and (value * 10**digits).denominator != 1:
            self._problems.append(f"{place}.{key}: {text!r}: want at most {digits} digits after the point")
        return value

    def _validity(self, entry: Mapping[str, Any], place: str) -> tuple[int, int | None]:
        from_ms = self._border(entry, "from", place) or 0
        until_ms = self._border(entry, "until", place)
        if until_ms is not None and until_ms <= from_ms:
            self._problems.append(f"{place}.until: {entry['until']!r}: want an instant after `from`")
        return from_ms, until_ms

    def _border(self, entry: Mapping[str, Any], key: str, place: str) -> int | None:
        if key not in entry:
            return None
        text = entry[key]
        try:
            at_ms = parse_instant(str(text), self._timezone)
        except ValueError as error:
            self._problems.append(f"{place}.{key}: {error}")
            return None
        if not is_border(at_ms, self._timezone):
            self._problems.append(f"{place}.{key}: {text!r}: want a whole UTC hour or a midnight of {self._timezone}")
        return at_ms
