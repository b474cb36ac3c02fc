"""The base lines of holders: stretches of holdings, cut where their owner changes or a waiver begins or ends, priced.

A line depends on its own slot, its holder and the holder's terms alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from math import gcd

from chargeback.core import lines as ledger
from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import Line, sku_of
from chargeback.core.node_hour import Gpu, Holding
from chargeback.core.prices.book import INSTANCE_HOUR, Rate
from chargeback.core.rating.basis import telescoped, used_micros
from chargeback.core.rating.context import Context
from chargeback.core.rating.payers import Payer, payer
from chargeback.core.rating.stretches import Alike, Stretch
from chargeback.core.rating.waivers import Waiver

# Where many shared a slot, ever fewer or more of them, the denominator of what they had before has no end: beyond
# this one a line's numbers, and their sums, would not fit the ledger's 64 bits.
DEN_MAX = 10**7


def base_lines_of(context: Context, gpu: Gpu, stretch: Stretch, list_rate: Rate | None) -> Iterator[Line]:
    """The base lines of a stretch of a holding on a card, by time and shares. list_rate: of the card itself."""
    spans = _spans(context, gpu, stretch.holding)
    for piece, (_, who, waived) in zip(stretch.cut([span for span, _, _ in spans]), spans, strict=True):
        kind = waived or (ledger.FAULTED if piece.faulted else ledger.HELD)
        shared = piece.device.shares > 1 or piece.holding.is_part
        rate = context.holder_rate(gpu.model, piece.device.profile, who.tier, who.cost_center, shared, gpu.uuid)
        measured = zip(
            piece.alike,
            piece.measured(piece.holding.busy_ms),
            piece.measured(piece.holding.memory_byte_seconds),
            piece.measured(piece.holding.energy_mj),
            strict=True,
        )
        for alike, *usage in measured:
            yield _line(context, gpu, piece, alike, who, kind, list_rate, rate, usage)


def _spans(context: Context, gpu: Gpu, holding: Holding) -> list[tuple[tuple[int, int], Payer, str | None]]:
    """A holding's time, in ms from the hour's start: who pays for it, and the kind of the waiver, if one holds."""
    start_ms = context.hour * HOUR_MS
    changes: list[int] = []
    if holding.namespace:
        changes = context.owners.changes(holding.namespace, start_ms + holding.start, start_ms + holding.end)
    found: list[tuple[tuple[int, int], Payer, str | None]] = []
    for a, b in itertools.pairwise((holding.start, *(at - start_ms for at in changes), holding.end)):
        who = payer(
            context.owners, context.prices, holding.namespace, holding.labels, holding.priority_class, start_ms + a
        )
        waivers = _waivers(context, gpu, holding, who) if context.waivers else ()
        inner = {at - start_ms for waiver in waivers for at in (waiver.from_ms, waiver.until_ms)}
        borders = sorted({a, b} | {at for at in inner if a < at < b}) if inner else (a, b)
        for span in itertools.pairwise(borders):
            at_ms = start_ms + span[0]
            waived = next((each.kind for each in waivers if each.from_ms <= at_ms < each.until_ms), None)
            found.append((span, who, waived))
    return found


def _waivers(context: Context, gpu: Gpu, holding: Holding, who: Payer) -> Sequence[Waiver]:
    return [
        waiver
        for waiver in context.waivers
        if waiver.is_of(
            cluster=context.cluster,
            node=context.node,
            gpu=gpu.uuid,
            namespace=holding.namespace,
            cost_center=who.cost_center,
            team=who.team,
        )
    ]


def _line(
    context: Context,
    gpu: Gpu,
    piece: Stretch,
    alike: Alike,
    who: Payer,
    kind: str,
    list_rate: Rate | None,
    rate: Rate | None,
    usage: Sequence[int | None],
) -> Line:
    """usage: busy_ms, memory_byte_seconds and energy_mj of these shares."""
    holding, profile = piece.holding, piece.device.profile
    ms, count, start_ms = holding.end - holding.start, len(alike.shares), context.hour * HOUR_MS
    den, card, card_before, unit, unit_before, used_before = _in_units(alike, rate)
    used = None if piece.busy_ms is None else card * piece.busy_ms
    listed = amount = by_use = None
    if rate is not None and list_rate is not None:
        hourly = rate.hourly if rate.units.denominator == 1 else rate.hourly / rate.units
        listed = telescoped(list_rate.hourly, card_before, card * ms, den, count)
        amount = telescoped(hourly, unit_before, unit * ms, den, count)
        if used is not None:
            by_use = used_micros(hourly, used_before, used, (unit, card), den, count)
    waived = kind in ledger.WAIVED and amount is not None
    return Line(
        cluster=context.cluster,
        node=context.node,
        hour=context.hour,
        day=context.interval.day,
        month=context.interval.month,
        start_ms=start_ms + holding.start,
        end_ms=start_ms + holding.end,
        account=who.account if amount is not None else ledger.UNPRICED,
        kind=kind,
        device=holding.device,
        parent=gpu.uuid,
        model=gpu.model,
        profile=profile,
        sku=sku_of(gpu.model, profile),
        unit=rate.unit if rate else None,
        unit_price=rate.unit_amount if rate else None,
        price_version=context.prices.version,
        policy_version=context.policy.version,
        gpu_ms_num=card * ms * count,
        quantity_ms_num=unit * ms * count,
        ms_den=den,
        list_micros=listed,
        amount_micros=amount,
        shares=",".join(map(str, alike.shares)),
        namespace=holding.namespace,
        pod=holding.pod,
        container=holding.container,
        claim=holding.claim or "",
        cost_center=who.cost_center,
        team=who.team,
        tier=who.tier,
        owner_version=who.owner_version,
        evidence=holding.evidence,
        busy_ms=usage[0],
        memory_byte_seconds=usage[1],
        energy_mj=usage[2],
        resource=holding.resource,
        dimensions=who.dimensions,
        list_hourly=list_rate.hourly if amount is not None and list_rate else None,
        hourly=hourly if amount is not None else None,
        used_num=None if used is None else used * count,
        gpu_before_num=card_before,
        quantity_before_num=unit_before,
        used_before_num=used_before,
        allocation_micros=0 if waived else amount,
        usage_micros=0 if waived else by_use,
    )


def _in_units(alike: Alike, rate: Rate | None) -> tuple[int, int, int, int, int, int]:
    """A denominator of its own, and over it: of the card, of that before, in the price's unit, before, used before.

    The least one for these shares alone, so that whoever else is on the card leaves no trace on their line.
    """
    den, card, card_before, used_before = alike.den, alike.card, alike.card_before, alike.used_before
    unit, unit_before = card, card_before
    if rate is not None and rate.unit == INSTANCE_HOUR:
        unit, unit_before = alike.device, alike.device_before
    elif rate is not None and rate.units.denominator != 1:
        part, whole = rate.units.numerator, rate.units.denominator
        unit, unit_before = card * part, card_before * part
        den, card, card_before, used_before = den * whole, card * whole, card_before * whole, used_before * whole
    least = gcd(den, card, card_before, unit, unit_before, used_before)
    if den // least > DEN_MAX:
        # What was before is told in parts of the line's own, rounded down: by less than one of them.
        least = gcd(den, card, unit)
    if least == 1:
        return den, card, card_before, unit, unit_before, used_before
    return (
        den // least, card // least, card_before // least, unit // least, unit_before // least, used_before // least,
    )  # fmt: skip
