"""The monthly statement: one row per (cost center, team, cluster, namespace, kind, sku, unit price), and its CSV.

What an auditor adds up must agree: rows hold the exact sums of ledger lines, hours are rounded only to be shown.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

from chargeback.core import lines as ledger
from chargeback.core.hours import month_span_ms
from chargeback.core.money import MS_PER_HOUR, format_micros, round_six
from chargeback.core.prices.book import GPU_HOUR, GPU_MONTH, INSTANCE_HOUR, NODE_HOUR
from chargeback.core.totals import Total, join, unpriced_ms

UNIT_NAMES = {
    GPU_HOUR: "GPU-Hours",
    INSTANCE_HOUR: "MIG Instance-Hours",
    GPU_MONTH: "GPU-Months",
    NODE_HOUR: "Node-Hours",
}

COLUMNS = (
    "statement_id", "revision", "period", "cost_center_id", "cost_center_name", "team", "cluster", "namespace",
    "kind", "sku", "description", "gpu_hours", "quantity", "unit", "unit_price", "currency", "list_amount",
    "discount_amount", "amount", "gl_account", "status", "corrects_period",
)  # fmt: skip

DESCRIPTIONS = {
    ledger.HELD: "GPU time held on",
    ledger.IDLE_HELD: "GPU time held and not used on",
    ledger.RESERVED: "Guaranteed GPU time held on",
    ledger.BURST: "GPU time held beyond the guarantee on",
    ledger.FAULTED: "GPU time held, not charged, on a faulted",
    ledger.OUTAGE: "GPU time held, not charged for an outage, on",
    ledger.NONBILLABLE: "GPU time held, not billable, on",
    ledger.FREE: "Idle time, held by nobody, of",
    ledger.UNSOLD: "Unsold shares of",
    ledger.UNPARTITIONED: "Capacity covered by no MIG instance of",
    ledger.ROUNDING: "Rounding on",
    ledger.GAP_KIND: "Time that nobody observed of",
    ledger.UNHEALTHY: "Unavailable time of",
    ledger.CORDONED: "Time on a cordoned node of",
    ledger.EXCESS: "Impossible time, to be looked into, on",
    ledger.DISCOUNT_KIND: "List amount less charged amount on",
    ledger.UNUSED: "Guaranteed GPU time not held on",
    ledger.BACKED: "Idle time that backs guarantees on",
    ledger.UNBACKED: "Guarantees without idle time on",
    ledger.TRANSFER: "Share of the idle time of",
    ledger.CREDIT: "Credit",
    ledger.DEBIT: "Debit",
}

# Of a month that is not closed, whatever is being done about that: its rows may still change.
OPEN_STATUS, CLOSED_STATUS = "draft", "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """What all rows of a statement have in common. revision: the draft that was closed; None: it is not closed."""

    month: str
    timezone: str
    currency: str
    revision: int | None = None


def csv_chunks(month: Month, totals: Iterable[Total]) -> Iterator[str]:
    """The monthly CSV, a line at a time: CRLF, header always. totals: ordered as `Total.ORDER` says."""
    yield csv_line(COLUMNS)
    for total in join(totals):
        yield csv_line(_row(month, total))


def account_rows(month: Month, totals: Iterable[Total]) -> Iterator[tuple[list[Total], bytes]]:
    """Each account's totals and its rows of the monthly CSV; all rows behind the header are the CSV."""
    for _, group in groupby(join(totals), key=lambda total: total.account):
        own = list(group)
        yield own, "".join(csv_line(_row(month, total)) for total in own).encode()


def csv_line(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue()


def _row(month: Month, total: Total) -> list[str]:
    listed, amount = total.list_micros, total.amount_micros
    return [
        safe(f"CB-{month.month}-{total.account}"),
        "" if month.revision is None else str(month.revision),
        month.month,
        safe(total.account),
        safe(total.account),
        safe(total.team),
        safe(total.cluster),
        safe(total.namespace),
        total.kind,
        safe(total.sku),
        safe(f"{DESCRIPTIONS[total.kind]} {total.model}{_profile(total.sku)}".rstrip()),
        round_six(total.gpu_ms / MS_PER_HOUR),
        round_six(quantity(month, total)),
        UNIT_NAMES[total.unit or GPU_HOUR] if total.unit or total.quantity_ms else "",
        total.unit_price,
        month.currency,
        "" if listed is None else format_micros(listed),
        "" if listed is None or amount is None else format_micros(listed - amount),
        "" if amount is None else format_micros(amount),
        "",
        OPEN_STATUS if month.revision is None else CLOSED_STATUS,
        total.corrects_month,
    ]


def quantity(month: Month, total: Total) -> Fraction:
    """How many units of the price were used. A month is as long as the one that the time lies in."""
    if total.unit == GPU_MONTH:
        start_ms, end_ms = month_span_ms(total.corrects_month or month.month, month.timezone)
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
    for (_, model), ms in unpriced_ms(totals).items():
        hours[model] = hours.get(model, Fraction(0)) + ms / MS_PER_HOUR
    return hours
