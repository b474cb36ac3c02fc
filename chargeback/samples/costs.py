"""Samples of the metrics about money and time, from the totals of each period."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from chargeback.core.money import MICROS
from chargeback.core.totals import Total, unpriced_ms

LABELS = ("period", "cluster", "cost_center", "team", "namespace", "sku", "kind")

Sample = tuple[tuple[str, ...], float]
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


def unpriced(periods: Periods) -> Iterator[Sample]:
    """This month's, of every model that there is: zero where all of its time has a price."""
    totals = periods.get("month", ())
    sums = {(total.cluster, total.model): Fraction(0) for total in totals} | unpriced_ms(totals)
    return ((labels, float(ms / 1000)) for labels, ms in sums.items())


def _labels(period: str, total: Total) -> tuple[str, ...]:
    return (period, total.cluster, total.account, total.team, total.namespace, total.sku, total.kind)
