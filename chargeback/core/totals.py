"""Sums of lines: what reports, exports and metrics are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from typing import ClassVar, TypeVar

from chargeback.core.lines import DIFFERENCE, UNOWNED, UNPRICED, Line
from chargeback.core.money import MICROS, format_decimal

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """A sum of lines that agree in the fields of ORDER. Amounts are None for what has no price.

    unit, unit_price     of the price that applied, empty without one; unit_price is an exact decimal
    allocation_micros    of holders' lines, by what is held; None: there is none among them
    usage_micros         of those whose busy time is known, by that
    unknown_usage_micros by what is held, of those whose busy time is not known
    dimensions           as in a line; not in the key: a statement has no labels
    corrects_month       as in a line, empty for what is no adjustment
    """

    ORDER: ClassVar = (
        "account", "team", "cluster", "namespace", "kind", "sku", "unit", "unit_price", "corrects_month",
    )  # fmt: skip

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
    unknown_usage_micros: int | None = None
    dimensions: tuple[tuple[str, str], ...] = ()
    corrects_month: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return (
            self.account, self.team, self.cluster, self.namespace, self.kind, self.sku, self.unit, self.unit_price,
            self.corrects_month,
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
        allocation_micros=line.allocation_micros,
        usage_micros=line.usage_micros,
        unknown_usage_micros=line.allocation_micros if line.usage_micros is None else None,
        dimensions=line.dimensions,
        corrects_month=line.corrects_month,
    )


def join(totals: Iterable[Total]) -> Iterator[Total]:
    """Join neighbours of the same key; the input is ordered by key (denominators and dimensions may differ)."""
    for _, group in groupby(totals, key=lambda total: total.key):
        yield add(list(group))


def add(totals: list[Total]) -> Total:
    """The sum of totals of one key; it keeps the dimensions only where all have the same."""
    first = totals[0]
    if len(totals) == 1:
        return first
    gpu_ms = sum((total.gpu_ms for total in totals), Fraction(0))
    quantity_ms = sum((total.quantity_ms for total in totals), Fraction(0))
    den = gpu_ms.denominator * quantity_ms.denominator
    listed = [total.list_micros for total in totals]
    amounts = [total.amount_micros for total in totals]
    assert all(len(set(map(_is_none, parts))) == 1 for parts in (listed, amounts)), (
        "priced and unpriced time under one key"
    )
    return replace(
        first,
        ms_den=den,
        gpu_ms_num=int(gpu_ms * den),
        quantity_ms_num=int(quantity_ms * den),
        list_micros=known_sum(listed),
        amount_micros=known_sum(amounts),
        allocation_micros=known_sum(total.allocation_micros for total in totals),
        usage_micros=known_sum(total.usage_micros for total in totals),
        unknown_usage_micros=known_sum(total.unknown_usage_micros for total in totals),
        dimensions=first.dimensions if all(total.dimensions == first.dimensions for total in totals) else (),
    )


def unpriced_ms(totals: Iterable[Total]) -> dict[tuple[str, str], Fraction]:
    """Card ms of a month without a price, by cluster and model."""
    return _lying_on(UNPRICED, totals, lambda total: (total.cluster, total.model))


def unowned_ms(totals: Iterable[Total]) -> dict[tuple[str, str], Fraction]:
    """Card ms of a month that belong to no cost center, by cluster and namespace."""
    return _lying_on(UNOWNED, totals, lambda total: (total.cluster, total.namespace))


def excess_ms(totals: Iterable[Total]) -> dict[tuple[str], Fraction]:
    """Card ms of a month that were held or laid out beyond what the cards have, by cluster."""
    found = _lying_on(DIFFERENCE, totals, lambda total: (total.cluster,), -1)
    return {key: -ms for key, ms in found.items()}


def _lying_on(
    account: str, totals: Iterable[Total], key_of: Callable[[Total], Key], sign: int = 1
) -> dict[Key, Fraction]:
    """Corrections count where they add to it: what they take back lay there in an earlier month, and must not hide
    what does in this one. sign: of what lies there."""
    found: dict[Key, Fraction] = {}
    late: dict[Key, Fraction] = {}
    for total in totals:
        if total.account == account:
            of, key = late if total.corrects_month else found, key_of(total)
            of[key] = of.get(key, Fraction(0)) + total.gpu_ms
    for key, more in late.items():
        if sign * more > 0:
            found[key] = found.get(key, Fraction(0)) + more
    return found


def known_sum(parts: Iterable[int | None]) -> int | None:
    """The sum of what is known; None where nothing is."""
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def _is_none(part: int | None) -> bool:
    return part is None
