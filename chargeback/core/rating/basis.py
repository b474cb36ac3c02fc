"""What a holder's line costs: by what is held of a device, or by what of that was busy.

Both telescope. Per share a line costs ⌊E(b)⌋ − ⌊E(a)⌋: by what is held E goes by the slot's own time since the rating
interval began, by use it goes by the holder's own busy time on it. So the pieces of a line cost what the line costs.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from chargeback.core.lines import BURST, HELD, IDLE_HELD, WAIVED, Line
from chargeback.core.money import micros_until

USAGE = "usage"
# Added to the evidence of what is billed by what is held because its use is not known.
USAGE_UNKNOWN = ", usage unknown"


def telescoped(hourly: Fraction, before: int, length: int, den: int, shares: int = 1) -> int:
    """Micros of so many shares, each for length / den ms, after before / den ms of its slot."""
    return shares * (micros_until(hourly, before + length, den) - micros_until(hourly, before, den))


def used_micros(
    hourly: Fraction, before: int, used: int, quantity: tuple[int, int], den: int, shares: int = 1
) -> int:
    """As `telescoped`, where time is of the whole card and hourly is not.

    quantity: the same time in the unit of the price, and of the card: a ratio.
    """
    unit, card = quantity
    if unit == card:
        return telescoped(hourly, before, used, den, shares)
    return telescoped(hourly, before * unit, used * unit, den * card, shares)


def share_count(line: Line) -> int:
    return line.shares.count(",") + 1


def with_amounts(line: Line) -> Line:
    """A base line with what it costs, by its times and prices; None of all where it has no price."""
    if line.list_hourly is None or line.hourly is None:
        return replace(line, list_micros=None, amount_micros=None, allocation_micros=None, usage_micros=None)
    shares, den = share_count(line), line.ms_den
    amount = telescoped(line.hourly, line.quantity_before_num, line.quantity_ms_num // shares, den, shares)
    waived = line.kind in WAIVED
    return replace(
        line,
        list_micros=telescoped(line.list_hourly, line.gpu_before_num, line.gpu_ms_num // shares, den, shares),
        amount_micros=amount,
        allocation_micros=0 if waived else amount,
        usage_micros=0 if waived else _used(line, line.hourly),
    )


def by_use(piece: Line, base: str) -> list[Line]:
    """A priced holder's piece as basis `usage` bills it: its busy part, and the rest of it for nothing.

    The rest is `idle-held`. Where nobody knows what was used, the piece is billed by what was held, and says so.
    base: of what is not the piece itself.
    """
    if piece.kind not in (HELD, BURST):
        return [piece]
    if piece.used_num is None:
        return [replace(piece, base=base, evidence=piece.evidence + USAGE_UNKNOWN)]
    assert piece.list_micros is not None
    assert piece.list_hourly is not None
    assert piece.allocation_micros is not None
    assert piece.usage_micros is not None
    shares = share_count(piece)
    used = piece.used_num // shares
    listed = telescoped(piece.list_hourly, piece.used_before_num, used, piece.ms_den, shares)
    quantity = piece.quantity_ms_num * piece.used_num // piece.gpu_ms_num
    idle = (
        piece.gpu_ms_num - piece.used_num,
        piece.list_micros - listed,
        piece.allocation_micros - piece.usage_micros,
    )
    if not any(idle):
        return [piece]
    # What was measured of the piece lies on its busy part, if it has one.
    measured = (0, None, None) if piece.used_num else (piece.busy_ms, piece.memory_byte_seconds, piece.energy_mj)
    rest = replace(
        piece,
        base=base,
        kind=IDLE_HELD,
        gpu_ms_num=idle[0],
        quantity_ms_num=piece.quantity_ms_num - quantity,
        used_num=0,
        list_micros=idle[1],
        amount_micros=0,
        allocation_micros=idle[2],
        usage_micros=0,
        busy_ms=measured[0],
        memory_byte_seconds=measured[1],
        energy_mj=measured[2],
    )
    if not piece.used_num:
        return [rest]
    busy = replace(
        piece,
        base=base,
        gpu_ms_num=piece.used_num,
        quantity_ms_num=quantity,
        list_micros=listed,
        amount_micros=piece.usage_micros,
        allocation_micros=piece.usage_micros,
    )
    return [busy, rest]


def _used(line: Line, hourly: Fraction) -> int | None:
    if line.used_num is None:
        return None
    shares = share_count(line)
    used = line.used_num // shares
    ratio = (line.quantity_ms_num, line.gpu_ms_num)
    return used_micros(hourly, line.used_before_num, used, ratio, line.ms_den, shares)
