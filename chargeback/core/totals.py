"""Sums of lines: what reports, exports and metrics are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import ClassVar

from chargeback.core.lines import Line
from chargeback.core.money import MICROS, format_decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """A sum of lines that agree in the fields of ORDER. Amounts are None for what has no price.

    unit, unit_price: of the price that applied, empty without one; unit_price is an exact decimal.
    """

    ORDER: ClassVar = ("account", "team", "cluster", "namespace", "kind", "sku", "unit", "unit_price")

    account: str
    team: str
    cluster: str
    namespace: str
    kind: str
    sku: str
    model: str
    unit: str
    unit_price: str
    ms_den: int
    gpu_ms_num: int
    quantity_ms_num: int
    list_micros: int | None
    amount_micros: int | None
    allocation_micros: int | None = None
    usage_micros: int | None = None
    dimensions: tuple[tuple[str, str], ...] = ()
    corrects_month: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return (
            self.account, self.team, self.cluster, self.namespace, self.kind, self.sku, self.unit, self.unit_price,
        )  # fmt: skip

    @property
    def gpu_ms(self) -> Fraction:
        return Fraction(self.gpu_ms_num, self.ms_den)

    @property
    def quantity_ms(self) -> Fraction:
        return Fraction(self.quantity_ms_num, self.ms_den)


def total_of(line: Line) -> Total:
    """One line as a sum of one."""
    return Total(
        account=line.account,
        team=line.team or "",
        cluster=line.cluster,
        namespace=line.namespace,
        kind=line.kind,
        sku=line.sku,
        model=line.model,
        unit=line.unit or "",
        unit_price="" if line.unit_price is None else format_decimal(line.unit_price / MICROS),
        ms_den=line.ms_den,
        gpu_ms_num=line.gpu_ms_num,
        quantity_ms_num=line.quantity_ms_num,
        list_micros=line.list_micros,
        amount_micros=line.amount_micros,
    )


def join(totals: Iterable[Total]) -> Iterator[Total]:
    """Join neighbours of the same key; the input is ordered by key (denominators may differ)."""
    for _, group in groupby(totals, key=lambda total: total.key):
        yield add(list(group))


def add(totals: list[Total]) -> Total:
    """The sum of totals of one key."""
    first = totals[0]
    if len(totals) == 1:
        return first
    gpu_ms = sum((total.gpu_ms for total in totals), Fraction(0))
    quantity_ms = sum((total.quantity_ms for total in totals), Fraction(0))
    den = gpu_ms.denominator * quantity_ms.denominator
    return Total(
        account=first.account,
        team=first.team,
        cluster=first.cluster,
        namespace=first.namespace,
        kind=first.kind,
        sku=first.sku,
        model=first.model,
        unit=first.unit,
        unit_price=first.unit_price,
        ms_den=den,
        gpu_ms_num=int(gpu_ms * den),
        quantity_ms_num=int(quantity_ms * den),
        list_micros=_sum([total.list_micros for total in totals]),
        amount_micros=_sum([total.amount_micros for total in totals]),
    )


def _sum(parts: list[int | None]) -> int | None:
    """Parts of one key are all priced or all unpriced, for the unit price is in the key."""
    known = [part for part in parts if part is not None]
    assert len(known) in (0, len(parts)), "priced and unpriced time under one key"
    return sum(known) if known else None
