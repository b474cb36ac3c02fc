"""Base lines: what a holder's holdings cost by what is held, before plans and bases; and the way there and back.

A base line has one weight over all its time, and all its shares have the same past, so it can be cut exactly. Its
kind is `held`, or says why it is waived; its amount is that of what is held. `finish` makes the lines of the ledger
of it, or of its pieces; `base_lines` makes it again of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from math import gcd

from chargeback.core.lines import DISCOUNT, DISCOUNT_KIND, HELD, HOLDERS, WAIVED, Line
from chargeback.core.policy import Policy
from chargeback.core.rating.basis import USAGE, USAGE_UNKNOWN, by_use, with_amounts


def finish(base: Line, policy: Policy) -> list[Line]:
    """A base line, or a piece of one that a plan has priced, as it stands in the ledger: with its discount lines.

    A waived one has amount 0. What is not the base line itself names it as its `base`. One without a price stays.
    """
    if base.amount_micros is None:
        return [base]
    if base.kind not in WAIVED and policy.basis != USAGE and base.list_micros == base.amount_micros:
        return [base]
    whole = base.base or base.line_id
    if base.kind in WAIVED:
        parts = [replace(base, amount_micros=0, base=whole)]
    else:
        parts = by_use(base, whole) if policy.basis == USAGE else [base]
    made: list[Line] = []
    for part in parts:
        made.append(part)
        if part.list_micros != part.amount_micros:
            made.append(_discount(part, whole))
    return made


def base_lines(lines: Iterable[Line]) -> list[Line]:
    """The base lines that holders' lines were made of, in the order in which they first come.

    Other lines, and discounts, are left out. Every piece of a base line must be there.
    """
    pieces: dict[str, list[Line]] = {}
    for line in lines:
        if line.kind in HOLDERS:
            pieces.setdefault(line.base or line.line_id, []).append(line)
    return [_joined(each) for each in pieces.values()]


def cut_line(base: Line, start_ms: int, end_ms: int, shares: Sequence[int] | None = None) -> Line:
    """The part of a base line within [start_ms, end_ms), of some of its shares (None: of all), exactly.

    Pieces that tile the base line sum to it in every field that adds up: what was measured is prorated by time and
    shares, each piece having what the running total, rounded down, grows by.
    """
    assert base.start_ms <= start_ms < end_ms <= base.end_ms, base
    every = shares_of(base)
    mine = every if shares is None else sorted(shares)
    assert set() < set(mine) <= set(every), shares
    count, length = len(every), base.end_ms - base.start_ms
    a, b = start_ms - base.start_ms, end_ms - base.start_ms
    weight, quantity = base.gpu_ms_num // (count * length), base.quantity_ms_num // (count * length)
    places = [every.index(share) * length for share in mine]

    def measured(total: int | None) -> int | None:
        if total is None:
            return None
        whole = count * length
        return sum(total * (at + b) // whole - total * (at + a) // whole for at in places)

    used_num, used_before = None, base.used_before_num
    if base.used_num is not None:
        # Its shares together were busy for so many ms.
        busy = base.used_num // (count * weight)
        began, ended = busy * a // length, busy * b // length
        used_num, used_before = weight * len(mine) * (ended - began), used_before + weight * began
    return with_amounts(
        replace(
            base,
            start_ms=start_ms,
            end_ms=end_ms,
            shares=",".join(map(str, mine)),
            gpu_ms_num=weight * len(mine) * (b - a),
            quantity_ms_num=quantity * len(mine) * (b - a),
            gpu_before_num=base.gpu_before_num + weight * a,
            quantity_before_num=base.quantity_before_num + quantity * a,
            used_num=used_num,
            used_before_num=used_before,
            busy_ms=measured(base.busy_ms),
            memory_byte_seconds=measured(base.memory_byte_seconds),
            energy_mj=measured(base.energy_mj),
            base=base.base or base.line_id,
        )
    )


def repriced(
    piece: Line,
    kind: str,
    *,
    amount_micros: int,
    unit: str,
    unit_price: Fraction,
    quantity_num: int,
    plan_version: int,
) -> Line:
    """A piece of a base line at a plan's price. quantity_num: in that price's unit, over the piece's ms_den.

    What it would cost without the plan stays on it, so that `base_lines` finds the way back.
    """
    return replace(
        piece,
        kind=kind,
        amount_micros=amount_micros,
        unit=unit,
        unit_price=unit_price,
        quantity_ms_num=quantity_num,
        plan_version=plan_version,
        base_unit=piece.unit,
        base_unit_price=piece.unit_price,
        base_quantity_num=piece.quantity_ms_num,
    )


def shares_of(line: Line) -> list[int]:
    """The numbers of a holder's shares, in order."""
    return sorted(map(int, line.shares.split(",")))


def _joined(pieces: Sequence[Line]) -> Line:
    """One base line again. Its pieces differ in time, shares, or in what of it was busy."""
    first = min(pieces, key=lambda piece: piece.start_ms)
    if len(pieces) == 1 and first.base is None:
        return first
    of_plan = first.base_quantity_num is not None
    shares = sorted({share for piece in pieces for share in shares_of(piece)})
    joined = replace(
        first,
        kind=first.kind if first.kind in WAIVED else HELD,
        end_ms=max(piece.end_ms for piece in pieces),
        shares=",".join(map(str, shares)),
        unit=first.base_unit if of_plan else first.unit,
        unit_price=first.base_unit_price if of_plan else first.unit_price,
        evidence=first.evidence.removesuffix(USAGE_UNKNOWN),
        gpu_ms_num=sum(piece.gpu_ms_num for piece in pieces),
        quantity_ms_num=sum(_quantity(piece) for piece in pieces),
        used_num=_sum(piece.used_num for piece in pieces),
        busy_ms=_sum(piece.busy_ms for piece in pieces),
        memory_byte_seconds=_sum(piece.memory_byte_seconds for piece in pieces),
        energy_mj=_sum(piece.energy_mj for piece in pieces),
        plan_version=None,
        base=None,
        base_unit=None,
        base_unit_price=None,
        base_quantity_num=None,
    )
    return with_amounts(_reduced(joined))


def _reduced(base: Line) -> Line:
    """Over the least denominator, as it was rated: that a plan wanted another leaves no trace."""
    ms = len(shares_of(base)) * (base.end_ms - base.start_ms)
    befores = (base.gpu_before_num, base.quantity_before_num, base.used_before_num)
    by = gcd(base.ms_den, base.gpu_ms_num // ms, base.quantity_ms_num // ms, *befores)
    if by == 1:
        return base
    return replace(
        base,
        ms_den=base.ms_den // by,
        gpu_ms_num=base.gpu_ms_num // by,
        quantity_ms_num=base.quantity_ms_num // by,
        gpu_before_num=base.gpu_before_num // by,
        quantity_before_num=base.quantity_before_num // by,
        used_num=None if base.used_num is None else base.used_num // by,
        used_before_num=base.used_before_num // by,
    )


def _quantity(piece: Line) -> int:
    return piece.quantity_ms_num if piece.base_quantity_num is None else piece.base_quantity_num


def _sum(values: Iterable[int | None]) -> int | None:
    """None where none of them is known."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _discount(piece: Line, base: str) -> Line:
    """What a holder's price takes off the list amount (adds to it, if negative): no time, list amount 0."""
    assert piece.list_micros is not None
    assert piece.amount_micros is not None
    return replace(
        piece,
        account=DISCOUNT,
        kind=DISCOUNT_KIND,
        of_kind=piece.kind,
        gpu_ms_num=0,
        quantity_ms_num=0,
        ms_den=1,
        gpu_before_num=0,
        quantity_before_num=0,
        used_num=None,
        used_before_num=0,
        busy_ms=None,
        memory_byte_seconds=None,
        energy_mj=None,
        list_micros=0,
        amount_micros=piece.list_micros - piece.amount_micros,
        allocation_micros=None,
        usage_micros=None,
        base=base,
        base_unit=None,
        base_unit_price=None,
        base_quantity_num=None,
    )
