"""Samples of the metrics about money and time, from the totals of each period."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TypeVar

from chargeback.core.money import MICROS
from chargeback.core.totals import Total, excess_ms, unowned_ms, unpriced_ms

LABELS = ("period", "cluster", "cost_center", "team", "namespace", "sku", "kind")

Sample = tuple[tuple[str, ...], float]
Key = TypeVar("Key", bound=tuple[str, ...])
Periods = Mapping[str, Sequence[Total]]


def costs(periods: Periods, currency: str) -> Iterator[Sample]:
    sums: dict[tuple[str, ...], int] = {}
    for period, totals in periods.items():
        for total in totals:
            if total.amount_micros is not None:
                key = (*_labels(period, total), currency)
                sums[key] = sums.get(key, 0) + total.amount_micros
    return ((labels, micros / MICROS) for labels, micros in sums.items())


def gpu_seconds(periods: Periods) -> Iterator[Sample]:
    sums: dict[tuple[str, ...], Fraction] = {}
    for period, totals in periods.items():
        for total in totals:
            key = _labels(period, total)
            sums[key] = sums.get(key, Fraction(0)) + total.gpu_ms
    return ((labels, float(ms / 1000)) for labels, ms in sums.items())


def unpriced(months: Sequence[Sequence[Total]]) -> Iterator[Sample]:
    """Of every model that there is: zero where all of its time has a price."""
    nothing = {(total.cluster, total.model): Fraction(0) for totals in months for total in totals}
    return _added(nothing, map(unpriced_ms, months))


def unowned(months: Sequence[Sequence[Total]]) -> Iterator[Sample]:
    """Of every namespace that has or had no owner."""
    return _added({}, map(unowned_ms, months))


def excess(months: Sequence[Sequence[Total]]) -> Iterator[Sample]:
    """Of every cluster that there is: zero where nothing was more than its card has."""
    nothing = {(total.cluster,): Fraction(0) for totals in months for total in totals}
    return _added(nothing, map(excess_ms, months))


def _added(sums: Mapping[Key, Fraction], more: Iterable[Mapping[Key, Fraction]]) -> Iterator[Sample]:
    found = dict(sums)
    for each in more:
        for labels, ms in each.items():
            found[labels] = found.get(labels, Fraction(0)) + ms
    return ((labels, float(ms / 1000)) for labels, ms in found.items())


def _labels(period: str, total: Total) -> tuple[str, ...]:
    return (period, total.cluster, total.account, total.team, total.namespace, total.sku, total.kind)
