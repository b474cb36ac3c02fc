"""Rating: a node-hour becomes ledger lines that balance to the micro, and problems.

A holder's line is the difference of two rounded-down totals of its own slot, so it depends on nobody else; what a
card's total leaves over lies on the platform's lines of that card, or on a `rounding` line.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chargeback.core.existence import Existence
from chargeback.core.hours import HOUR_MS, rating_intervals
from chargeback.core.lines import Line, Problem
from chargeback.core.node_hour import Gpu, Holding, Instance, cut
from chargeback.core.nodes import NO_PLACES, NodePlaces
from chargeback.core.owners.owners import OwnerBook
from chargeback.core.policy import PolicyBook
from chargeback.core.prices.book import PriceBook
from chargeback.core.prices.entries import Place
from chargeback.core.rating.card import rate_card
from chargeback.core.rating.context import Context
from chargeback.core.rating.idle_energy import with_idle_energy
from chargeback.core.rating.timeline import is_steady, segments
from chargeback.core.rating.twins import Twins, key_of
from chargeback.core.rating.waivers import Waiver
from chargeback.core.spans import Spans


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
    places: NodePlaces = NO_PLACES,
    waivers: Sequence[Waiver] = (),
    twins: Twins | None = None,
) -> tuple[list[Line], list[Problem]]:
    """The lines of one node in one hour, before plans are settled; and what is wrong with it.

    held       who held what, after the second meter
    existence  of the node's cards in that hour
    until      ms from the hour's start up to which to rate (a running hour is rated up to what was pushed)
    counted    what agents saw held, before the second meter: it counts where shares are counted
    cordoned   when no new pods might come to the node
    places     the node's pool and labels over time
    waivers    what holders do not pay for; of several that hold the first says what the line is called
    twins      of other nodes, as long as the terms are the same; this one's are added
    """
    intervals = rating_intervals(hour, policies.first.timezone)
    # At once for all intervals, so that what was measured is shared out among them without loss.
    within = tuple((each.start, min(each.end, until)) for each in intervals if each.start < until)
    instances: dict[str, list[Instance]] = {gpu.uuid: [] for gpu in existence.gpus}
    for instance in existence.instances:
        instances.setdefault(instance.gpu, []).append(instance)
    cards = _Cards(
        existence=existence,
        instances=instances,
        held=_by_card(existence, (piece for holding in held for piece in cut(holding, within))),
        counted=_by_card(existence, counted),
        cordoned=cordoned,
        twins=twins if twins is not None else Twins(),
    )
    lines: list[Line] = []
    problems: list[Problem] = []
    for interval, (start, end) in zip(intervals, within, strict=False):
        start_ms = hour * HOUR_MS + start
        pool, labels = places.at(start_ms)
        there = [gpu for gpu in existence.gpus if _exists(existence.spans[gpu.uuid], start, end)]
        uuids = tuple(sorted(gpu.uuid for gpu in there))
        context = Context(
            cluster=cluster,
            node=node,
            hour=hour,
            interval=interval,
            policy=policies.at(start_ms, cluster, pool),
            prices=prices,
            owners=owners,
            place=Place(cluster=cluster, pool=pool, labels=labels, cards=uuids),
            # Prices are those of the whole interval, also while it is still running.
            price_span=(start_ms, hour * HOUR_MS + interval.end),
            waivers=[each for each in waivers if each.cluster in (None, cluster) and each.node in (None, node)],
        )
        for gpu in there:
            made, wrong = cards.rate(context, gpu, start, end)
            lines += made
            problems += wrong
    return with_idle_energy(lines, existence, counted or held, held), problems


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cards:
    """A node's cards in one hour. instances, held, counted: of each card, by uuid; held: cut at rating intervals."""

    existence: Existence
    instances: Mapping[str, Sequence[Instance]]
    held: Mapping[str, Sequence[Holding]]
    counted: Mapping[str, Sequence[Holding]]
    cordoned: Spans
    twins: Twins

    def rate(self, context: Context, gpu: Gpu, start: int, end: int) -> tuple[Sequence[Line], Sequence[Problem]]:
        """One card in a rating interval, of which [start, end) is rated; what it shares with others, by its twin."""
        mine = [piece for piece in self.held[gpu.uuid] if start <= piece.start < end]
        lives, own, seen = self.existence.spans[gpu.uuid], self.instances[gpu.uuid], self.counted[gpu.uuid]
        key = None
        if len(mine) <= 1 and is_steady(gpu, lives, own, (*mine, *seen), self.cordoned, start, end):
            holding = mine[0] if mine else None
            key = key_of(context, gpu, holding, start, end)
            if key is not None and (alike := self.twins.lines(key, context, gpu, holding)) is not None:
                return alike, ()
        found = segments(gpu, lives, own, mine, context.policy, start, end, counted=seen, cordoned=self.cordoned)
        made, wrong = rate_card(context, gpu, mine, found)
        if key is not None and not wrong:
            self.twins.learn(key, context, gpu, made)
        return made, wrong


def _by_card(existence: Existence, holdings: Iterable[Holding]) -> dict[str, list[Holding]]:
    """By the uuid of the card. That of an instance may have been used on another card before: it goes by time."""
    records: dict[str, list[Instance]] = {}
    for instance in existence.instances:
        records.setdefault(instance.uuid, []).append(instance)
    found: dict[str, list[Holding]] = {gpu.uuid: [] for gpu in existence.gpus}
    for holding in holdings:
        mine = records.get(holding.device)
        if mine is None or len({record.gpu for record in mine}) == 1:
            found.setdefault(mine[0].gpu if mine else holding.device, []).append(holding)
            continue
        borders = {at for record in mine for at in (record.start, record.end) if holding.start < at < holding.end}
        for piece in cut(holding, tuple(itertools.pairwise(sorted({holding.start, holding.end, *borders})))):
            found.setdefault(_home(mine, piece.start), []).append(piece)
    return found


def _home(records: Sequence[Instance], at: int) -> str:
    """On which card an instance is: where it came last, or where it will come first."""
    came = [record for record in records if record.start <= at]
    return max(came, key=lambda record: record.start).gpu if came else min(records, key=lambda r: r.start).gpu


def _exists(spans: Spans, start: int, end: int) -> bool:
    if len(spans) == 1:  # most do all the time
        return spans[0][0] < end and start < spans[0][1]
    return any(a < end and start < b for a, b in spans)
