"""Units: what one guaranteed device of a plan is in an hour, and what it costs.

A plan counts ids of a resource, so a unit is what such an id stands for there: a card, a MIG instance, or a share of
either. Where that cannot be told, or is not one thing, the plan has no price: it is never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from chargeback.core.lines import CORDONED, FREE, GAP_KIND, UNHEALTHY, UNSOLD, Line
from chargeback.core.offers import RENAMED
from chargeback.core.owners.owners import Owner
from chargeback.core.plans.book import PlanVersion
from chargeback.core.plans.key import PriceKey, profile_of, read_price_key
from chargeback.core.prices.asked import Asked
from chargeback.core.prices.book import INSTANCE_HOUR, NODE_HOUR, Place, PriceBook, Rate
from chargeback.core.reservations import EVIDENCE as BY_SCHEDULER


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """weight: of the card; part: of the device. None: nothing tells."""

    weight: Fraction | None
    part: Fraction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit that has a price. hourly: micros of an hour of it. quantity: time of the price's unit in its time."""

    key: PriceKey
    slot: Slot
    rate: Rate
    hourly: Fraction
    quantity: Fraction


class Units:
    """What is known of the devices of an hour in one rating interval.

    bases       base lines of all holders; lines: all lines. Both of the interval; models: of all cards in the hour
    span        the interval, in unix ms
    is_running  the hour is not over: what nobody has seen in it may still be seen
    """

    def __init__(
        self,
        bases: Sequence[Line],
        lines: Sequence[Line],
        models: frozenset[str],
        span: tuple[int, int],
        *,
        is_running: bool = False,
    ) -> None:
        self._span = span
        self._is_running = is_running
        self._bases = [base for base in bases if counts(base)]
        self._lines = lines
        self._models = models
        self._known: dict[tuple[PriceKey, str, tuple[int, int]], set[Slot]] = {}
        self._of_device: dict[tuple[str, str], list[Line]] = {}
        self._gaps: dict[tuple[str, str], list[Line]] = {}
        for line in lines:
            if line.profile is not None:
                self._of_device.setdefault((line.node, line.device), []).append(line)
            elif line.kind == GAP_KIND:
                self._gaps.setdefault((line.node, line.parent), []).append(line)

    def key_of(self, plan: PlanVersion, prices: PriceBook) -> tuple[PriceKey | None, str]:
        """What a plan's units are priced as; None, and why it cannot be told."""
        if plan.price_key:
            known = self._models | {price.model for price in prices.prices if price.model is not None}
            key = read_price_key(plan.price_key, known)
            return key, "" if key else f"{plan.price_key} is the sku of no model here"
        if len(self._models) != 1:
            found = "has cards of " + " and ".join(sorted(self._models)) if self._models else "has no cards"
            return None, f"the cluster {found}: want a price key"
        (model,) = self._models
        key = PriceKey(model, profile_of(plan.resource))
        held = [base for base in self._bases if base.resource == plan.resource]
        mine = {base.profile or "" for base in held if base.namespace == plan.namespace}
        if others := mine - {key.profile}:
            return None, f"holds {', '.join(sorted(others))} as {plan.resource}: want a price key"
        if held and not any(is_of(base, key) for base in held) and not self._idle(key, self._span)[0]:
            named = ", ".join(sorted({base.profile or "a card" for base in held}))
            return None, f"{plan.resource} is {named} here: want a price key"
        return key, ""

    def unit_of(
        self,
        plan: PlanVersion,
        key: PriceKey,
        owner: Owner | None,
        prices: PriceBook,
        place: Place,
        during: tuple[int, int],
    ) -> tuple[Unit | None, str]:
        """The unit in a part of the interval, priced for an owner; None, and why it has no price ("": not yet)."""
        what = (key, plan.resource, during)
        if what not in self._known:
            self._known[what] = self._slots(*what)
        slots = self._known[what]
        if len(slots) > 1:
            sizes = " and ".join(sorted(str(slot.weight) for slot in slots))
            return None, f"devices of {key} are {sizes} of a card: want a resource for each"
        (slot,) = slots
        asked = Asked(
            model=key.model,
            start_ms=self._span[0],
            end_ms=self._span[1],
            place=place,
            profile=key.profile or None,
            shared=slot.part != 1,
            reserved=True,
            tier=owner.tier if owner else None,
            cost_center=owner.cost_center if owner else None,
        )
        rate = prices.holder_rate(asked)
        if rate is None:
            return None, f"{key} has no price"
        if rate.unit == NODE_HOUR:
            return None, f"{key} is priced by the node: want a price of a card, reserved or not"
        of_unit = slot.part if rate.unit == INSTANCE_HOUR else slot.weight
        if of_unit is None and self._is_running:
            return None, ""
        if of_unit is None:
            return None, f"there is no {key} in this hour, and its price goes by the part that a unit is"
        hourly, quantity = rate.hourly * of_unit, rate.units * of_unit
        return Unit(key=key, slot=slot, rate=rate, hourly=hourly, quantity=quantity), ""

    def _slots(self, key: PriceKey, resource: str, during: tuple[int, int]) -> set[Slot]:
        """What ids of the resource stand for meanwhile.

        Where nobody saw any of it then, the rest of the interval tells, if it was one thing there.
        """
        found = self._there(key, resource, during)
        if not found and len(elsewhere := self._there(key, resource, self._span)) == 1:
            found = elsewhere
        if found:
            return found
        if resource.endswith(RENAMED):
            return {Slot(None, None)}
        if key.profile:
            return {Slot(None, Fraction(1))}
        return {Slot(Fraction(1), Fraction(1))}

    def _there(self, key: PriceKey, resource: str, during: tuple[int, int]) -> set[Slot]:
        """By what is held of it, and by what lies idle.

        Idle shares tell only where there is nothing else: they may be offered under another resource.
        """
        found: set[Slot] = set()
        unseen: set[Slot] = set()
        for base in self._bases:
            if base.resource == resource and is_of(base, key) and _touches(base, during):
                slots = unseen if self._in_gap(base) else found
                slots.add(self._slot(base, len(base.shares.split(","))))
        whole, parts = self._idle(key, during)
        found |= set() if resource.endswith(RENAMED) else whole
        # In a gap the shares that nobody holds are no lines of their device: what was seen says how large it is.
        for slot in sorted(unseen):
            found.add(min((each for each in found | parts if each.weight == slot.weight), default=slot))
        return found or parts

    def _in_gap(self, line: Line) -> bool:
        gaps = self._gaps.get((line.node, line.parent), ())
        return any(gap.start_ms <= line.start_ms < gap.end_ms for gap in gaps)

    def _idle(self, key: PriceKey, during: tuple[int, int]) -> tuple[set[Slot], set[Slot]]:
        """Of devices that nobody holds: whole ones, and shares."""
        whole: set[Slot] = set()
        parts: set[Slot] = set()
        for line in self._lines:
            if line.kind not in (FREE, UNSOLD, UNHEALTHY, CORDONED) or not is_of(line, key):
                continue
            if not _touches(line, during):
                continue
            if line.shares:
                parts.add(self._slot(line, len(line.shares.split(","))))
            elif line.kind != UNSOLD and (key.profile or weight_of(line) == 1):
                whole.add(self._slot(line, 1))
        return whole, parts

    def _slot(self, line: Line, count: int) -> Slot:
        weight = weight_of(line) / count
        if line.profile is None:
            return Slot(weight, weight)
        beside = self._of_device[line.node, line.device]
        device = sum(weight_of(each) for each in beside if each.start_ms <= line.start_ms < each.end_ms)
        return Slot(weight, weight / device)


def counts(base: Line) -> bool:
    """Whether a base line is of ids of its resource: not of a claim, nor a part that a scheduler gave of one."""
    return not base.claim and not base.evidence.startswith(BY_SCHEDULER)


def is_of(line: Line, key: PriceKey) -> bool:
    return line.model == key.model and (line.profile or "") == key.profile


def _touches(line: Line, during: tuple[int, int]) -> bool:
    return line.start_ms < during[1] and during[0] < line.end_ms


def weight_of(line: Line) -> Fraction:
    """Of the card, all shares of the line together."""
    return Fraction(line.gpu_ms_num, line.ms_den * (line.end_ms - line.start_ms))


def models_of(lines: Iterable[Line]) -> frozenset[str]:
    """Of the cards that lines are about."""
    return frozenset(line.model for line in lines if line.parent)
