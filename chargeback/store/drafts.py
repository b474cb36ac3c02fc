"""Drafts of months: what each of them saw, kept whole, and the digest that says whether the lines are still those."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update

from chargeback.core.lines import CHARGE, TRANSFER, Line
from chargeback.core.months.closing import Finding
from chargeback.core.months.sums import Coverage
from chargeback.store.ledger import PAGE_ROWS, delete_lines, put_lines
from chargeback.store.tables import drafts as table
from chargeback.store.tables import lines

# A draft's own states beside those of its month.
DISCARDED = "discarded"

# All that a line says but its revision, which says how often it was rated. Fixed for ever, with its order: a closed
# month's digest is made anew from it.
_COLUMNS = (
    "line_id", "cluster", "node", "hour", "day", "month", "start_ms", "end_ms", "account", "kind", "device",
    "parent", "shares", "model", "profile", "sku", "unit", "unit_price", "namespace", "pod", "container",
    "claim", "cost_center", "team", "tier", "owner_version", "price_version", "policy_version", "plan_version",
    "evidence", "gpu_ms_num", "quantity_ms_num", "ms_den", "busy_ms", "memory_byte_seconds", "energy_mj",
    "list_micros", "amount_micros", "part", "resource", "dimensions", "list_hourly", "hourly", "used_num",
    "gpu_before_num", "quantity_before_num", "used_before_num", "allocation_micros", "usage_micros", "base",
    "base_unit", "base_unit_price", "base_quantity_num", "of_kind", "corrects", "corrects_month",
)  # fmt: skip
_LIST, _AMOUNT = _COLUMNS.index("list_micros"), _COLUMNS.index("amount_micros")
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What a month's lines come to. sha256: over all of them, in an order of their own."""

    lines: int
    list_micros: int
    amount_micros: int
    sha256: str

    def differences(self, other: Digest) -> list[str]:
        """What of another is not as here: name, here and there."""
        mine, theirs = asdict(self), asdict(other)
        return [f"{name}: {mine[name]}, now {theirs[name]}" for name in mine if mine[name] != theirs[name]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One draft of a month. cutoff_ms: what came later is not in it; *_by: who, None: nobody did."""

    month: str
    draft: int
    state: str
    cutoff_ms: int
    prepared_ms: int
    prepared_by: str
    digest: Digest
    findings: Sequence[Finding]
    coverage: Sequence[Coverage]
    approved_ms: int | None = None
    approved_by: str | None = None
    closed_ms: int | None = None
    closed_by: str | None = None

    @property
    def waived(self) -> list[Finding]:
        return [each for each in self.findings if each.waived]


def digest_of(connection: Connection, month: str) -> Digest:
    """Of the lines that a month has now, page by page: each a JSON array of its `_COLUMNS`, and a line feed."""
    seen, count, listed, amount = sha256(), 0, 0, 0
    result = connection.execute(_lines(month).execution_options(yield_per=PAGE_ROWS))
    for page in result.partitions(PAGE_ROWS):
        seen.update("".join(_encode([*row]) + "\n" for row in page).encode())
        count += len(page)
        listed += sum(row[_LIST] or 0 for row in page)
        amount += sum(row[_AMOUNT] or 0 for row in page)
    return Digest(lines=count, list_micros=listed, amount_micros=amount, sha256=seen.hexdigest())


def _lines(month: str) -> Select[Any]:
    # Both databases find a month's lines by its days.
    whole = (lines.c.month == month, lines.c.day.between(f"{month}-01", f"{month}-31"))
    order = (lines.c.day, lines.c.cluster, lines.c.line_id)
    return select(*(lines.c[name] for name in _COLUMNS)).where(*whole).order_by(*order)


def put_draft(connection: Connection, draft: Draft) -> None:
    """Keep a new draft."""
    connection.execute(insert(table).values(_row(draft)))


def change_draft(connection: Connection, draft: Draft) -> None:
    """Keep what has become of a draft; what it saw stays as it was."""
    changed = {
        name: value
        for name, value in _row(draft).items()
        if name == "state" or name.startswith(("approved_", "closed_"))
    }
    where = (table.c.month == draft.month, table.c.draft == draft.draft)
    connection.execute(update(table).where(*where).values(changed))


def draft_of(connection: Connection, month: str, number: int) -> Draft | None:
    query = select(table).where(table.c.month == month, table.c.draft == number)
    row = connection.execute(query).first()
    return None if row is None else _draft(row)


def drafts_of(connection: Connection, month: str) -> list[Draft]:
    """All drafts of a month, oldest first."""
    query = select(table).where(table.c.month == month).order_by(table.c.draft)
    return [_draft(row) for row in connection.execute(query)]


def put_transfers(connection: Connection, transfers: Sequence[Line]) -> set[tuple[str, str]]:
    """Put a draft's transfers, while its month is still open; the (cluster, day)s whose sums change."""
    put_lines(connection, [(line, 1) for line in transfers])
    return {(line.cluster, line.day) for line in transfers}


def delete_transfers(connection: Connection, month: str) -> set[tuple[str, str]]:
    """Delete a discarded draft's transfers, once its month is open again; the (cluster, day)s whose sums change."""
    # By the day, as the index has it; see `_lines`.
    whole = (lines.c.month == month, lines.c.day.between(f"{month}-01", f"{month}-31"))
    mine = (*whole, lines.c.kind == TRANSFER, lines.c.part == CHARGE)
    days = {(row.cluster, row.day) for row in connection.execute(select(lines.c.cluster, lines.c.day).where(*mine))}
    delete_lines(connection, *mine)
    return days


def _row(draft: Draft) -> dict[str, Any]:
    return {
        "month": draft.month,
        "draft": draft.draft,
        "state": draft.state,
        "cutoff_ms": draft.cutoff_ms,
        "prepared_ms": draft.prepared_ms,
        "prepared_by": draft.prepared_by,
        "approved_ms": draft.approved_ms,
        "approved_by": draft.approved_by,
        "closed_ms": draft.closed_ms,
        "closed_by": draft.closed_by,
        **asdict(draft.digest),
        "checks": json.dumps(
            {
                "findings": [asdict(each) for each in draft.findings],
                "coverage": [asdict(each) | _coverage_texts(each) for each in draft.coverage],
            }
        ),
        "waived": json.dumps([{"name": each.name, "reason": each.waived} for each in draft.waived]),
    }


def _coverage_texts(each: Coverage) -> dict[str, str]:
    return {"observed_ms": str(each.observed_ms), "api_ms": str(each.api_ms), "gap_ms": str(each.gap_ms)}


def _draft(row: Row[Any]) -> Draft:
    checks = json.loads(row.checks)
    coverage = [
        Coverage(
            cluster=each["cluster"],
            node=each["node"],
            observed_ms=Fraction(each["observed_ms"]),
            api_ms=Fraction(each["api_ms"]),
            gap_ms=Fraction(each["gap_ms"]),
        )
        for each in checks["coverage"]
    ]
    return Draft(
        month=row.month,
        draft=row.draft,
        state=row.state,
        cutoff_ms=row.cutoff_ms,
        prepared_ms=row.prepared_ms,
        prepared_by=row.prepared_by,
        digest=Digest(
            lines=row.lines, list_micros=row.list_micros, amount_micros=row.amount_micros, sha256=row.sha256
        ),
        findings=[Finding(**each) for each in checks["findings"]],
        coverage=coverage,
        approved_ms=row.approved_ms,
        approved_by=row.approved_by,
        closed_ms=row.closed_ms,
        closed_by=row.closed_by,
    )
