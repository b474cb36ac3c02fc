"""Rating: a node-hour becomes ledger lines that balance to the micro, and problems.

A holder's line is the difference of two rounded-down totals of its own slot, so it depends on nobody else; what a
card's total leaves over lies on the platform's lines of that card, or on a `rounding` line.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from chargeback.core.card import CardAccount, Context
from chargeback.core.existence import Existence
from chargeback.core.hours import HOUR_MS, RatingInterval, rating_intervals
from chargeback.core.idle_energy import with_idle_energy
from chargeback.core.lines import Line, Problem
from chargeback.core.node_hour import Gpu, Holding, Instance, cut
from chargeback.core.owners import OwnerBook
from chargeback.core.policy import PolicyBook
from chargeback.core.prices import PriceBook
from chargeback.core.spans import Spans
from chargeback.core.timeline import segments


def rate_node_hour(
    cluster: str,
    node: str,
    hour: int,
    held: Sequence[Holding],
    existence: Existence,
    owners: OwnerBook,
    prices: PriceBook,
    policies: PolicyBook,
    until: int = HOUR_MS,
    *,
    counted: Sequence[Holding] = (),
    cordoned: Spans = (),
) -> tuple[list[Line], list[Problem]]:
    """The lines of one node in one hour, and what is wrong with it.

    held       who held what, after the second meter
    existence  of the node's cards in that hour
    until      ms from the hour's start up to which to rate (a running hour is rated up to what was pushed)
    counted    what agents saw held, before the second meter: it counts where shares are counted
    cordoned   when no new pods might come to the node
    """
    timezone = policies.first.timezone
    intervals = rating_intervals(hour, timezone)
    pieces = _cut(held, hour, [i.start for i in intervals], owners)
    lines: list[Line] = []
    problems: list[Problem] = []
    for interval in intervals:
        if interval.start >= until:
            break
        end = min(interval.end, until)
        start_ms = hour * HOUR_MS + interval.start
        context = Context(
            cluster=cluster,
            node=node,
            hour=hour,
            interval=interval,
            policy=policies.at(start_ms),
            prices=prices,
            owners=owners,
            # Prices are those of the whole interval, also while it is still running.
            price_span=(start_ms, hour * HOUR_MS + interval.end),
        )
        for gpu in existence.gpus:
            made, wrong = _rate_card(context, gpu, existence, pieces, end, counted, cordoned)
            lines += made
            problems += wrong
    return with_idle_energy(lines, existence, counted or held, held), problems


def _rate_card(
    context: Context,
    gpu: Gpu,
    existence: Existence,
    pieces: Sequence[Holding],
    end: int,
    counted: Sequence[Holding],
    cordoned: Spans,
) -> tuple[list[Line], list[Problem]]:
    """One card in one rating interval, which ends no later than `end`."""
    instances = [i for i in existence.instances if i.gpu == gpu.uuid]
    holdings = _pieces_of(gpu, instances, pieces, context.interval, end)
    account = CardAccount(context, gpu, holdings)
    for segment in segments(
        gpu,
        existence.spans[gpu.uuid],
        instances,
        holdings,
        context.policy,
        context.interval.start,
        end,
        counted=counted,
        cordoned=cordoned,
    ):
        account.add(segment)
    return account.close()


def _cut(holdings: Iterable[Holding], hour: int, midnights: Sequence[int], owners: OwnerBook) -> list[Holding]:
    """Holdings, cut at local midnight and wherever the owner of their namespace changes."""
    start_ms = hour * HOUR_MS
    pieces: list[Holding] = []
    for holding in holdings:
        changes = owners.changes(holding.namespace, start_ms + holding.start, start_ms + holding.end)
        inner = {at - start_ms for at in changes} | {at for at in midnights if holding.start < at < holding.end}
        borders = [holding.start, *sorted(inner), holding.end]
        pieces += cut(holding, tuple(itertools.pairwise(borders)))
    return pieces


def _pieces_of(
    gpu: Gpu, instances: Iterable[Instance], pieces: Iterable[Holding], interval: RatingInterval, end: int
) -> list[Holding]:
    """What is held on this card within the interval; pieces never cross its borders."""
    devices = {gpu.uuid} | {i.uuid for i in instances}
    return [p for p in pieces if p.device in devices and interval.start <= p.start and p.end <= end]
