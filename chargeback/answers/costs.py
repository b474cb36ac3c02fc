"""Costs as JSON and CSV write them: the same fields in reports, exports and over HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from chargeback.core.costs import Costs
from chargeback.core.money import format_micros, round_six

FIELDS = (
    "gpu_hours", "list_amount", "amount", "allocation_amount", "usage_amount", "unknown_usage_amount",
    "unpriced_gpu_hours",
)  # fmt: skip


def cost_json(names: Sequence[str], row: Costs) -> dict[str, str | None]:
    """names: of the groups, as they shall be called. None where there is no such amount, never zero."""
    return {
        **dict(zip(names, row.group, strict=True)),
        "gpu_hours": round_six(row.gpu_hours),
        "list_amount": amount(row.list_micros),
        "amount": amount(row.amount_micros),
        "allocation_amount": amount(row.allocation_micros),
        "usage_amount": amount(row.usage_micros),
        "unknown_usage_amount": amount(row.unknown_usage_micros),
        "unpriced_gpu_hours": round_six(row.unpriced_hours),
    }


def amount(micros: int | None) -> str | None:
    return None if micros is None else format_micros(micros)
