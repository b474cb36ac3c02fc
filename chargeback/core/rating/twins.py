"""Twins: whole cards that one pod holds, or nobody, for all of a rating interval, under the same terms.

Most cards of a fleet are, most of the time. What was worked out for the first of them holds for all: their lines
differ in names and in what was measured, and in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chargeback.core.lines import DISCOUNT_KIND, FREE, HELD, Line
from chargeback.core.money import micros_until
from chargeback.core.node_hour import WHOLE, Gpu, Holding
from chargeback.core.prices.entries import NODE_HOUR
from chargeback.core.rating.basis import USAGE
from chargeback.core.rating.context import Context
from chargeback.core.values import variant_maker

Key = tuple[object, ...]

_CARD = ("node", "device", "parent")
_free: Callable[..., Line] = variant_maker(Line, _CARD)
_held: Callable[..., Line] = variant_maker(
    Line,
    (*_CARD, "pod", "container", "busy_ms", "memory_byte_seconds", "energy_mj", "used_num", "usage_micros"),
)
_discount: Callable[..., Line] = variant_maker(Line, (*_CARD, "pod", "container", "base"))


@dataclass(frozen=True, slots=True)
class Twins:
    """Lines by what they follow from, as long as owners, prices and policy are the same: for one transaction."""

    _lines: dict[Key, Sequence[Line]] = field(default_factory=dict)

    def lines(self, key: Key, context: Context, gpu: Gpu, holding: Holding | None) -> list[Line] | None:
        """A card's lines, of a twin's; None where none was learnt yet."""
        known = self._lines.get(key)
        if known is None:
            return None
        twin, node, card = known[0], context.node, gpu.uuid
        if holding is None:
            return [_free(twin, node, card, card)]
        pod, container, used, hourly = holding.pod, holding.container, holding.busy_ms, twin.hourly
        by_use = None if used is None or hourly is None else micros_until(hourly, used, 1)
        measured = (used, holding.memory_byte_seconds, holding.energy_mj, used, by_use)
        held = _held(twin, node, card, card, pod, container, *measured)
        if len(known) == 1:
            return [held]
        return [held, _discount(known[1], node, card, card, pod, container, held.line_id)]

    def learn(self, key: Key, context: Context, gpu: Gpu, lines: Sequence[Line]) -> None:
        """What was worked out for a card, if it holds for others: no price of it may be its own part of a node's."""
        rate, kinds = context.list_rate(gpu.model, gpu.uuid), [line.kind for line in lines]
        if rate is None or NODE_HOUR in (rate.unit, lines[0].unit) or lines[0].amount_micros is None:
            return
        if kinds in ([FREE], [HELD], [HELD, DISCOUNT_KIND]):
            self._lines[key] = lines


def key_of(context: Context, gpu: Gpu, holding: Holding | None, start: int, end: int) -> Key | None:
    """What the lines of a steady card follow from, beyond names and measures; None where they follow from more."""
    place = (context.cluster, context.hour, start, end, context.place.pool, context.place.labels, gpu.model)
    if holding is None:
        return place
    is_plain = (
        holding.portion is WHOLE
        and holding.claim is None
        and (holding.start, holding.end, holding.shares) == (start, end, (0,))
        and (holding.busy_ms is None or holding.busy_ms <= end - start)
        and not context.waivers
        and context.policy.basis != USAGE
    )
    if not is_plain:
        return None
    return (
        *(*place, holding.namespace, holding.labels, holding.priority_class),
        *(holding.resource, holding.evidence),
    )
