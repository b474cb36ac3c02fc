"""Corrections of closed months: what was billed there stands for ever, the difference is posted in an open month.

For each natural key, what stands is compared with what is rated now. Where they differ, one line takes back what
stood, and one says what is right; both cite it. So a key's lines over all months add up to what a ledger would say
that had known everything from the start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from chargeback.core.hours import format_hour, local_day
from chargeback.core.lines import CHARGE, CREDIT, DEBIT, HOLDERS, RESTATED, REVERSAL, TRANSFER, WAIVED, Line

# Sums that people or a month's close have posted: no rating takes them away again.
POSTED_BY_HAND = frozenset({CREDIT, DEBIT, TRANSFER})

# What adds up over lines; all else says what a line is about.
_ADDITIVE = (
    "gpu_ms_num", "quantity_ms_num", "list_micros", "amount_micros", "allocation_micros", "usage_micros", "busy_ms",
    "used_num", "base_quantity_num", "memory_byte_seconds", "energy_mj",
)  # fmt: skip

# What a piece says of the base line that it was cut from.
_OF_BASE = (
    "ms_den", "list_hourly", "hourly", "unit", "unit_price", "base_unit", "base_unit_price", "base_quantity_num",
    "used_num", "gpu_before_num", "quantity_before_num", "used_before_num",
)  # fmt: skip


def net(lines: Iterable[Line]) -> list[Line]:
    """The lines that count, one a key at most: its charge, or what was restated last. In the order of keys met."""
    by_key: dict[tuple[object, ...], dict[tuple[str, str], Line]] = {}
    for line in lines:
        if line.kind not in POSTED_BY_HAND:
            by_key.setdefault(line.key, {})[line.month, line.part] = line
    return [found for posted in by_key.values() if (found := _last(posted)) is not None]


def _last(posted: dict[tuple[str, str], Line]) -> Line | None:
    """posted: of one key, by posted month and part. None: it was taken back, and nothing stands in its place."""
    month = max(month for month, _ in posted)
    return posted.get((month, RESTATED)) or posted.get((month, CHARGE))


def correct(standing: Iterable[Line], rated: Iterable[Line], month: str) -> list[Line]:
    """The adjustments, posted in `month`, that make of what stands what is rated now; in an order of their own.

    standing: `net` of the closed months; rated: charges of those months, as they are rated now.
    """
    before = {line.key: line for line in standing}
    after = {line.key: line for line in rated}
    assert all(line.part == CHARGE for line in after.values())
    adjustments: list[Line] = []
    for key in sorted(before.keys() | after.keys(), key=ascii):
        old, new = before.get(key), after.get(key)
        if old is not None and new is not None and is_same(old, new) and _is_cut_alike(old, new):
            continue
        if old is not None:
            adjustments.append(_reversal(old, month))
        if new is not None:
            adjustments.append(_restated(old, new, month))
    return adjustments


def posted(
    existing: Iterable[Line], rated: Iterable[Line], settled: frozenset[str], month: str
) -> tuple[list[Line], list[Line]]:
    """What posting a rating takes from the ledger, and what it puts there.

    existing: all lines about what was rated; settled: months that do not change; month: where corrections are posted.
    """
    existing, rated = list(existing), list(rated)
    taken = [line for line in existing if line.month not in settled and line.kind not in POSTED_BY_HAND]
    standing = net(line for line in existing if line.month in settled)
    corrections = correct(standing, [line for line in rated if line.month in settled], month)
    return taken, [*(line for line in rated if line.month not in settled), *corrections]


def is_correction(line: Line) -> bool:
    """Whether a rating has made it, in answer to lines of a closed month."""
    return line.part != CHARGE and line.kind not in POSTED_BY_HAND


def is_same(old: Line, new: Line) -> bool:
    """Whether two lines of one key say the same of money, time and account: a bill speaks of nothing else."""
    return (
        (old.account, old.list_micros, old.amount_micros) == (new.account, new.list_micros, new.amount_micros)
        and old.gpu_ms_num * new.ms_den == new.gpu_ms_num * old.ms_den
        and old.quantity_ms_num * new.ms_den == new.quantity_ms_num * old.ms_den
    )


def _is_cut_alike(old: Line, new: Line) -> bool:
    """Whether two lines of one key, if they are pieces of a base line, are pieces of the same.

    Settling makes a base line again of all its pieces, so they must be of one rating: were one left as it was closed,
    the others would be billed by its use or price of then.
    """
    is_piece = old.kind in HOLDERS - WAIVED and (old.base or new.base) is not None
    return not is_piece or all(getattr(old, name) == getattr(new, name) for name in _OF_BASE)


def as_charge(line: Line, timezone: str) -> Line:
    """A restated line as it would be had it been right at once: in the local day and month of its time."""
    if line.part == CHARGE:
        return line
    day = local_day(line.start_ms, timezone).isoformat()
    return replace(line, part=CHARGE, day=day, month=day[:7], corrects="", corrects_month="")


def opposite(line: Line, month: str) -> Line:
    """What takes a line back, in another month."""
    return _reversal(line, month)


def _reversal(line: Line, month: str) -> Line:
    negated: dict[str, Any] = {name: _negated(getattr(line, name)) for name in _ADDITIVE}
    return replace(
        line,
        part=REVERSAL,
        month=month,
        day=first_day(month),
        corrects=line.line_id,
        corrects_month=line.month,
        **negated,
    )


def _restated(old: Line | None, new: Line, month: str) -> Line:
    return replace(
        new,
        part=RESTATED,
        month=month,
        day=first_day(month),
        corrects=node_hour_name(new) if old is None else old.line_id,
        corrects_month=new.month if old is None else old.month,
    )


def node_hour_name(line: Line) -> str:
    """What an adjustment cites that replaces no line: `cluster/node/hour`."""
    return f"{line.cluster}/{line.node}/{format_hour(line.hour)}"


def first_day(month: str) -> str:
    """Adjustments are posted on the first day of their month."""
    return f"{month}-01"


def _negated(value: int | None) -> int | None:
    return None if value is None else -value
