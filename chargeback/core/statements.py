"""The monthly statement: one row per (cost center, team, cluster, namespace, kind, sku, unit price), and its CSV.

What an auditor adds up must agree: rows hold the exact sums of ledger lines, hours are rounded only to be shown.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from chargeback.core.hours import month_span_ms
from chargeback.core.lines import UNPRICED
from chargeback.core.money import MS_PER_HOUR, format_micros, round_six
from chargeback.core.prices import GPU_HOUR, GPU_MONTH, INSTANCE_HOUR
from chargeback.core.totals import Total, join

UNIT_NAMES = {GPU_HOUR: "GPU-Hours", INSTANCE_HOUR: "MIG Instance-Hours", GPU_MONTH: "GPU-Months"}

COLUMNS = (
    "statement_id", "revision", "period", "cost_center_id", "cost_center_name", "team", "cluster", "namespace",
    "kind", "sku", "description", "gpu_hours", "quantity", "unit", "unit_price", "currency", "list_amount",
    "discount_amount", "amount", "gl_account", "status", "corrects_period",
)  # fmt: skip

_DESCRIPTIONS = {
    "held": "GPU time held on",
    "free": "Idle time, held by nobody, of",
    "unsold": "Unsold shares of",
    "unpartitioned": "Capacity covered by no MIG instance of",
    "rounding": "Rounding on",
    "gap": "Time that nobody observed of",
    "unhealthy": "Unavailable time of",
    "discount": "List amount less charged amount on",
    "excess": "Impossible time, to be looked into, on",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """What all rows of a statement have in common."""

    month: str
    timezone: str
    currency: str


def csv_chunks(month: Month, totals: Iterable[Total]) -> Iterator[str]:
    """The monthly CSV, a line at a time: CRLF, header always. totals: ordered as `Total.ORDER` says."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for total in join(totals):
        yield _take(buffer)
        writer.writerow(_row(month, total))
    yield _take(buffer)


def _take(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def _row(month: Month, total: Total) -> list[str]:
    listed, amount = total.list_micros, total.amount_micros
    return [
        safe(f"CB-{month.month}-{total.account}"),
        "",
        month.month,
        safe(total.account),
        safe(total.account),
        safe(total.team),
        safe(total.cluster),
        safe(total.namespace),
        total.kind,
        safe(total.sku),
        safe(f"{_DESCRIPTIONS[total.kind]} {total.model}{_profile(total.sku)}"),
        round_six(total.gpu_ms / MS_PER_HOUR),
        round_six(quantity(month, total)),
        UNIT_NAMES[total.unit or GPU_HOUR],
        total.unit_price,
        month.currency,
        "" if listed is None else format_micros(listed),
        "" if listed is None or amount is None else format_micros(listed - amount),
        "" if amount is None else format_micros(amount),
        "",
        "draft",
        "",
    ]


def quantity(month: Month, total: Total) -> Fraction:
    """How many units of the price were used."""
    if total.unit == GPU_MONTH:
        start_ms, end_ms = month_span_ms(month.month, month.timezone)
        return total.quantity_ms / (end_ms - start_ms)
    return total.quantity_ms / MS_PER_HOUR


def _profile(sku: str) -> str:
    _, found, profile = sku.partition(".mig-")
    return f" MIG {profile}" if found else ""


def safe(text: str) -> str:
    """Text that a spreadsheet shows and never runs: names are chosen by users."""
    text = text.replace("\r", " ").replace("\n", " ")
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) or text.startswith("\t") else text


@dataclass(frozen=True, slots=True, kw_only=True)
class CostCenterRow:
    """A month of one account, for people."""

    account: str
    gpu_hours: Fraction
    list_micros: int
    amount_micros: int


def by_account(totals: Iterable[Total]) -> list[CostCenterRow]:
    """Sums per account: cost centers first, then the platform's own, each bytewise."""
    sums: dict[str, list[Total]] = {}
    for total in totals:
        sums.setdefault(total.account, []).append(total)
    rows = [
        CostCenterRow(
            account=account,
            gpu_hours=sum((total.gpu_ms for total in group), Fraction(0)) / MS_PER_HOUR,
            list_micros=sum(total.list_micros or 0 for total in group),
            amount_micros=sum(total.amount_micros or 0 for total in group),
        )
        for account, group in sums.items()
    ]
    return sorted(rows, key=lambda row: (row.account.startswith("platform:"), row.account.encode()))


def unpriced_hours(totals: Iterable[Total]) -> dict[str, Fraction]:
    """Card hours without a price, by model."""
    hours: dict[str, Fraction] = {}
    for total in totals:
        if total.account == UNPRICED:
            hours[total.model] = hours.get(total.model, Fraction(0)) + total.gpu_ms / MS_PER_HOUR
    return hours
