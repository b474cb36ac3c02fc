"""Twins: whole cards that one pod holds, or nobody, for all of a rating interval, under the same terms.

Most cards of a fleet are, most of the time. What was worked out for the first of them holds for all: their lines
differ in names and in what was measured, and in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import partial

from chargeback.core.lines import DISCOUNT_KIND, FREE, HELD, Line
from chargeback.core.node_hour import WHOLE, Gpu, Holding
from chargeback.core.prices.entries import NODE_HOUR
from chargeback.core.rating.basis import USAGE, telescoped
from chargeback.core.rating.context import Context

Key = tuple[object, ...]

_NAMES = tuple(each.name for each in fields(Line))


@dataclass(frozen=True, slots=True)
class Twins:
    """Lines by what they follow from, as long as owners, prices and policy are the same: for one transaction."""

    _lines: dict[Key, tuple[Line, Sequence[Callable[..., Line]]]] = field(default_factory=dict)

    def lines(self, key: Key, context: Context, gpu: Gpu, holding: Holding | None) -> list[Line] | None:
        """A card's lines, of a twin's; None where none was learnt yet."""
        known = self._lines.get(key)
        if known is None:
            return None
        twin, (make, *discount) = known
        node, card = context.node, gpu.uuid
        if holding is None:
            return [make(node=node, device=card, parent=card)]
        pod, container, used = holding.pod, holding.container, holding.busy_ms
        held = make(
            node=node,
            device=card,
            parent=card,
            pod=pod,
            container=container,
            busy_ms=used,
            memory_byte_seconds=holding.memory_byte_seconds,
            energy_mj=holding.energy_mj,
            used_num=used,
            usage_micros=None if used is None or twin.hourly is None else telescoped(twin.hourly, 0, used, 1),
        )
        if not discount:
            return [held]
        names = {"node": node, "device": card, "parent": card, "pod": pod, "container": container}
        return [held, *(make(**names, base=held.line_id) for make in discount)]

    def learn(self, key: Key, context: Context, gpu: Gpu, lines: Sequence[Line]) -> None:
        """What was worked out for a card, if it holds for others: no price of it may be its own part of a node's."""
        rate, kinds = context.list_rate(gpu.model, gpu.uuid), [line.kind for line in lines]
        if rate is None or NODE_HOUR in (rate.unit, lines[0].unit) or lines[0].amount_micros is None:
            return
        if kinds in ([FREE], [HELD], [HELD, DISCOUNT_KIND]):
            makers = [partial(Line, **{name: getattr(line, name) for name in _NAMES}) for line in lines]
            self._lines[key] = lines[0], makers


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
