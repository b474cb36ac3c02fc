"""Details of a month below its statement: what their columns are, and how a line is written in them.

The sums of a detail are those of the statement: every line is in exactly one row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

from chargeback.core.costs import COST_CENTER
from chargeback.core.hours import format_hour, format_instant
from chargeback.core.lines import Line
from chargeback.core.money import MICROS, MS_PER_HOUR, format_decimal, format_micros, round_six
from chargeback.core.statements import safe

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

Write = Callable[[Any], str | None]


def _text(value: str | None) -> str | None:
    return value


@lru_cache(maxsize=CACHED)
def _hour(hour: int) -> str:
    return format_hour(hour)


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)


def _money(micros: int | None) -> str | None:
    return None if micros is None else format_micros(micros)


# Column of the export → field of a line, and how its value is written. Fields are as the ledger's table keeps them.
COLUMNS: dict[str, tuple[str, Write]] = {
    "line_id": ("line_id", _text),
    "month": ("month", _text),
    "day": ("day", _text),
    "hour": ("hour", _hour),
    "from": ("start_ms", format_instant),
    "until": ("end_ms", format_instant),
    "cost_center_id": ("account", _text),
    "kind": ("kind", _text),
    "of_kind": ("of_kind", _text),
    "part": ("part", _text),
    "corrects": ("corrects", _text),
    "corrects_period": ("corrects_month", _text),
    "cluster": ("cluster", _text),
    "node": ("node", _text),
    "gpu": ("parent", _text),
    "device": ("device", _text),
    "shares": ("shares", _text),
    "model": ("model", _text),
    "profile": ("profile", _text),
    "resource": ("resource", _text),
    "namespace": ("namespace", _text),
    "pod": ("pod", _text),
    "container": ("container", _text),
    "claim": ("claim", _text),
    "cost_center": ("cost_center", _text),
    "team": ("team", _text),
    "tier": ("tier", _text),
    "labels": ("dimensions", _text),
    "evidence": ("evidence", _text),
    "owner_version": ("owner_version", _number),
    "plan_version": ("plan_version", _number),
    "price_version": ("price_version", _number),
    "policy_version": ("policy_version", _number),
    "sku": ("sku", _text),
    "unit": ("unit", _text),
    "unit_price": ("unit_price", _text),
    "gpu_ms_num": ("gpu_ms_num", _number),
    "quantity_ms_num": ("quantity_ms_num", _number),
    "ms_den": ("ms_den", _number),
    "busy_ms": ("busy_ms", _number),
    "memory_byte_seconds": ("memory_byte_seconds", _number),
    "energy_mj": ("energy_mj", _number),
    "list_amount": ("list_micros", _money),
    "amount": ("amount_micros", _money),
    "allocation_amount": ("allocation_micros", _money),
    "usage_amount": ("usage_micros", _money),
    "base": ("base", _text),
}
FIELDS = tuple(field for field, _ in COLUMNS.values())
# What a row ends with that is in no field of a line.
MORE = ("gpu_hours", "currency", "status")
HEADER = (*COLUMNS, *MORE)
_WRITES = tuple(write for _, write in COLUMNS.values())
_GPU_MS, _MS_DEN = FIELDS.index("gpu_ms_num"), FIELDS.index("ms_den")
# Ids, numbers and times of our own: nothing in them can be a formula.
_NAMES = frozenset(
    i for i, name in enumerate(COLUMNS)
    if name in ("cost_center_id", "corrects", "cluster", "node", "gpu", "device", "model", "profile", "resource",
                "namespace", "pod", "container", "claim", "cost_center", "team", "tier", "labels", "evidence", "sku")
)  # fmt: skip
_NUMBERS = frozenset(i for i, write in enumerate(_WRITES) if write is _number)
_safe = lru_cache(maxsize=CACHED)(safe)


def values_of(line: Line) -> tuple[Any, ...]:
    """A line's fields as the ledger's table keeps them, in the order of FIELDS."""
    values = {name: getattr(line, name) for name in FIELDS}
    values["unit_price"] = None if line.unit_price is None else format_decimal(line.unit_price / MICROS)
    values["dimensions"] = json.dumps(line.dimensions, separators=(",", ":"))
    return tuple(values.values())


def line_row(values: Sequence[Any], currency: str, status: str) -> list[str | None]:
    """A line in the columns of HEADER. values: its fields, in the order of FIELDS."""
    row = [write(value) for write, value in zip(_WRITES, values, strict=True)]
    row += (_gpu_hours(values[_GPU_MS], values[_MS_DEN]), currency, status)
    return row


def safe_row(row: Sequence[str | None]) -> list[str]:
    """For a spreadsheet: nothing in it is run, what is not known is empty."""
    return ["" if text is None else _safe(text) if i in _NAMES else text for i, text in enumerate(row)]


def json_row(row: Sequence[str | None]) -> dict[str, Any]:
    """As an object: whole numbers are numbers, decimals are texts, what is not known is null."""
    found: dict[str, Any] = {
        name: int(text) if text is not None and i in _NUMBERS else text
        for i, (name, text) in enumerate(zip(HEADER, row, strict=True))
    }
    found["labels"] = dict(json.loads(found["labels"]))
    return found


@lru_cache(maxsize=CACHED)
def _gpu_hours(num: int, den: int) -> str:
    return round_six(Fraction(num, den) / MS_PER_HOUR)
