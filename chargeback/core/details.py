"""Details of a month below its statement: what their columns are, and how a line is written in them.

The sums of a detail are those of the statement: every line is in exactly one row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from chargeback.core.costs import COST_CENTER
from chargeback.core.hours import format_hour, format_instant
from chargeback.core.lines import Line
from chargeback.core.money import MICROS, MS_PER_HOUR, format_decimal, format_micros
from chargeback.core.months.statements import safe

SUMMARY, HOUR = "summary", "hour"
# What makes a row of the details that are sums; more groups may be asked for.
GROUPS = {
    "namespace": (COST_CENTER, "team", "cluster", "namespace"),
    "workload": (COST_CENTER, "team", "cluster", "namespace", "workload", "kind", "sku"),
    "pod": (COST_CENTER, "team", "cluster", "namespace", "pod", "container", "kind", "sku"),
}
DETAILS = (SUMMARY, *GROUPS, HOUR)
# Names and hours come again and again in lines that stand together.
CACHED = 4096
RATED, PROVISIONAL = "rated", "provisional"


@lru_cache(maxsize=CACHED)
def _hour(hour: int) -> str:
    return format_hour(hour)


def _instant(at_ms: int) -> str:
    """As `format_instant`, of which only the milliseconds differ in lines that stand together."""
    second, ms = divmod(at_ms, 1000)
    return _second(second) if not ms else f"{_second(second)[:-1]}.{ms:03d}Z"


@lru_cache(maxsize=CACHED)
def _second(at_s: int) -> str:
    return format_instant(at_s * 1000)


def _money(micros: int | None) -> str | None:
    return None if micros is None else format_micros(micros)


# Column of the export → field of a line, as the ledger's table keeps it.
COLUMNS: dict[str, str] = {
    "line_id": "line_id",
    "month": "month",
    "day": "day",
    "hour": "hour",
    "from": "start_ms",
    "until": "end_ms",
    "cost_center_id": "account",
    "kind": "kind",
    "of_kind": "of_kind",
    "part": "part",
    "corrects": "corrects",
    "corrects_period": "corrects_month",
    "cluster": "cluster",
    "node": "node",
    "gpu": "parent",
    "device": "device",
    "shares": "shares",
    "model": "model",
    "profile": "profile",
    "resource": "resource",
    "namespace": "namespace",
    "pod": "pod",
    "container": "container",
    "claim": "claim",
    "cost_center": "cost_center",
    "team": "team",
    "tier": "tier",
    "labels": "dimensions",
    "evidence": "evidence",
    "owner_version": "owner_version",
    "plan_version": "plan_version",
    "price_version": "price_version",
    "policy_version": "policy_version",
    "sku": "sku",
    "unit": "unit",
    "unit_price": "unit_price",
    "gpu_ms_num": "gpu_ms_num",
    "quantity_ms_num": "quantity_ms_num",
    "ms_den": "ms_den",
    "busy_ms": "busy_ms",
    "memory_byte_seconds": "memory_byte_seconds",
    "energy_mj": "energy_mj",
    "list_amount": "list_micros",
    "amount": "amount_micros",
    "allocation_amount": "allocation_micros",
    "usage_amount": "usage_micros",
    "base": "base",
}
# Fields that are not written as they are.
_WRITTEN_BY: dict[str, Callable[[Any], str | None]] = {
    "hour": _hour,
    "start_ms": _instant,
    "end_ms": _instant,
    "list_micros": _money,
    "amount_micros": _money,
    "allocation_micros": _money,
    "usage_micros": _money,
}
FIELDS = tuple(COLUMNS.values())
# What a row ends with that is in no field of a line.
MORE = ("gpu_hours", "currency", "status")
HEADER = (*COLUMNS, *MORE)
_WRITES = tuple((i, _WRITTEN_BY[field]) for i, field in enumerate(FIELDS) if field in _WRITTEN_BY)
_GPU_MS, _MS_DEN = FIELDS.index("gpu_ms_num"), FIELDS.index("ms_den")
# What others have named: all else is our own, and no formula.
_NAMES = frozenset(
    i for i, name in enumerate(COLUMNS)
    if name in ("cost_center_id", "corrects", "cluster", "node", "gpu", "device", "model", "profile", "resource",
                "namespace", "pod", "container", "claim", "cost_center", "team", "tier", "labels", "evidence", "sku")
)  # fmt: skip
_safe = lru_cache(maxsize=CACHED)(safe)


def values_of(line: Line) -> tuple[Any, ...]:
    """A line's fields as the ledger's table keeps them, in the order of FIELDS."""
    values = {name: getattr(line, name) for name in FIELDS}
    values["unit_price"] = None if line.unit_price is None else format_decimal(line.unit_price / MICROS)
    values["dimensions"] = json.dumps(line.dimensions, separators=(",", ":"))
    return tuple(values.values())


def line_row(values: Sequence[Any], currency: str, status: str) -> list[Any]:
    """A line in the columns of HEADER: texts, whole numbers, None. values: its fields, in the order of FIELDS."""
    row = list(values)
    for i, write in _WRITES:
        row[i] = write(row[i])
    row += (_gpu_hours(values[_GPU_MS], values[_MS_DEN]), currency, status)
    return row


def safe_row(row: list[Any]) -> list[Any]:
    """For a spreadsheet: nothing in it is run. The same list, changed; what is None is written empty."""
    for i in _NAMES:
        if row[i]:
            row[i] = _safe(row[i])
    return row


def json_row(row: Sequence[Any]) -> dict[str, Any]:
    """As an object: whole numbers are numbers, decimals are texts, what is not known is null."""
    found = dict(zip(HEADER, row, strict=True))
    found["labels"] = dict(json.loads(found["labels"]))
    return found


def _gpu_hours(num: int, den: int) -> str:
    """As `round_six` rounds num / den ms, half to even, in whole numbers alone: there is one a line."""
    whole = den * MS_PER_HOUR
    micros, rest = divmod(num * MICROS, whole)
    return format_micros(micros + (2 * rest > whole or (2 * rest == whole and micros % 2 == 1)))
