"""One card's account in one rating interval: what each holder is charged, and what is left for the platform.

E(t) is the exact list amount of a slot from the interval's start to t; a line over [a, b) is ⌊E(b)⌋ − ⌊E(a)⌋.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import lcm

from chargeback.core import lines as ledger
from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import Line, Problem, sku_of
from chargeback.core.money import micros_until, settle
from chargeback.core.node_hour import Gpu, Holding
from chargeback.core.prices.book import Rate
from chargeback.core.rating.base_lines import finish
from chargeback.core.rating.context import Context
from chargeback.core.rating.holders import base_lines_of
from chargeback.core.rating.stretches import stretches
from chargeback.core.rating.timeline import Segment
from chargeback.core.rating.unsold import Run, Unsold, rest


def rate_card(
    context: Context, gpu: Gpu, holdings: Sequence[Holding], segments: Sequence[Segment]
) -> tuple[list[Line], list[Problem]]:
    """The card's lines and problems. Σ list = ⌊price × existed⌋ and Σ amount = Σ list, or it says so.

    segments: of its existence in the interval, in order, at least one.
    """
    rate = context.list_rate(gpu.model, gpu.uuid)
    existed = sum(segment.end - segment.start for segment in segments)
    made: list[Line] = []
    for stretch in stretches(holdings, context.policy, segments):
        for base in base_lines_of(context, gpu, stretch, rate):
            made += finish(base, context.policy)
    runs = rest(segments, gpu.uuid)
    problems: list[Problem] = []
    if rate is None:
        made += [_platform_line(context, gpu, run, None, None) for run in runs]
        problems.append(Problem(kind="unpriced", subject=gpu.model, ms=Fraction(existed)))
    else:
        made += _platform_lines(context, gpu, made, runs, rate, existed)
    if wrong := _gpu_ms(made) - existed:
        problems.append(Problem(kind="conservation", subject=gpu.uuid, ms=Fraction(wrong)))
    return made, problems


def _platform_lines(
    context: Context, gpu: Gpu, holders: Sequence[Line], runs: Sequence[Run], rate: Rate, existed: int
) -> list[Line]:
    """The platform's lines carry what the holders' lines leave of the card's total, by largest remainder."""
    left = micros_until(rate.hourly, existed, 1) - sum(line.list_micros or 0 for line in holders)
    if len(runs) == 1:
        return [_platform_line(context, gpu, runs[0], rate, left)]
    if runs:
        exact = [rate.hourly * run.card_ms / HOUR_MS for run in runs]
        parts = settle(left, exact)
        return [_platform_line(context, gpu, run, rate, part) for run, part in zip(runs, parts, strict=True)]
    if left == 0:
        return []
    nothing = Unsold(account=ledger.IDLE, kind=ledger.ROUNDING, device=gpu.uuid, profile=None, weight=Fraction(0))
    run = Run(nothing, context.interval.start, context.interval.end)
    return [_platform_line(context, gpu, run, rate, left)]


def _platform_line(context: Context, gpu: Gpu, run: Run, rate: Rate | None, micros: int | None) -> Line:
    what, start_ms = run.what, context.hour * HOUR_MS
    weight = what.weight
    units = weight * rate.units if rate else weight
    den = lcm(weight.denominator, units.denominator)
    ms = run.end - run.start
    return Line(
        cluster=context.cluster,
        node=context.node,
        hour=context.hour,
        day=context.interval.day,
        month=context.interval.month,
        start_ms=start_ms + run.start,
        end_ms=start_ms + run.end,
        account=what.account if rate is not None else ledger.UNPRICED,
        kind=what.kind,
        device=what.device,
        parent=gpu.uuid,
        model=gpu.model,
        profile=what.profile,
        shares=what.shares,
        sku=sku_of(gpu.model, what.profile),
        unit=rate.unit if rate else None,
        unit_price=rate.unit_amount if rate else None,
        price_version=context.prices.version,
        policy_version=context.policy.version,
        gpu_ms_num=int(weight * den) * ms,
        quantity_ms_num=int(units * den) * ms,
        ms_den=den,
        list_micros=micros,
        amount_micros=micros,
        list_hourly=rate.hourly if rate else None,
        hourly=rate.hourly / rate.units if rate else None,
    )


def _gpu_ms(lines: Iterable[Line]) -> Fraction | int:
    by_den: dict[int, int] = {}
    for line in lines:
        by_den[line.ms_den] = by_den.get(line.ms_den, 0) + line.gpu_ms_num
    return sum(num if den == 1 else Fraction(num, den) for den, num in by_den.items())
