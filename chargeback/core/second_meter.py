"""The second meter: what the cluster's API knows of pods clips and fills what agents saw them hold.

It takes from a holding only what lies between a pod's end and the next bind of the same name, and adds only on slots
that nobody else holds: from bind to the first sight, between two sights of the same, across unobserved time, and for
pods that no agent ever saw.
How much the two meters differ is kept, by kind of difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple

from chargeback.core.existence import Existence
from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import Problem
from chargeback.core.lives import ClusterWord, PodLife, PodSlot
from chargeback.core.metered import (
    DIFFERENCES,
    EARLY,
    FREED,
    LATE,
    MISSED,
    UNOBSERVED,
    UNPLACED,
    UNSEEN,
    Metered,
    Sight,
)
from chargeback.core.namesakes import namesakes
from chargeback.core.node_hour import Holding, cut
from chargeback.core.offers import Offer, offers
from chargeback.core.pod_slots import Place, as_bound, holding_of, place_of, slot_of
from chargeback.core.pods import devices_asked_for
from chargeback.core.spans import Span, Spans, intersect, length, subtract, union

Slot = tuple[str, int]


def meter(
    hour: int,
    holdings: Sequence[Holding],
    existence: Existence,
    word: ClusterWord,
    held_before: Iterable[tuple[str, int, str]],
    same_price: Callable[[Sequence[Offer], PodLife], bool],
    until: int = HOUR_MS,
) -> Metered:
    """Put both meters together for one node-hour.

    holdings     as the agents saw them
    held_before  what `held` said at the end of the hour before
    same_price   whether a pod would pay the same for each of some slots
    until        ms from the hour's start up to which the account goes
    """
    work = _Work(hour, existence, word, frozenset(held_before), until)
    work.clip(holdings)
    unsure = [life for life in word.lives if not work.was_seen_all_along(life)]
    lives = sorted(unsure, key=lambda life: (life.bound_ms, life.uid))
    for life in lives:
        work.fill(life)
    for life in lives:
        work.place(life, same_price)
    return work.result()


_in_order = attrgetter("start", "device", "shares", "holder")


class _Stay(NamedTuple):
    """Who is on a slot. uid: empty where the API does not know the pod."""

    span: Span
    uid: str
    holder: tuple[str, str, str]
    claim: str | None


class _Work:
    """One node-hour's holdings while they are put together. Times: ms from the hour's start."""

    def __init__(
        self, hour: int, existence: Existence, word: ClusterWord, before: frozenset[tuple[str, int, str]], until: int
    ) -> None:
        self._start_ms = hour * HOUR_MS
        self._word = word
        self._before = before
        self._until = until
        self._existence = existence
        self._namesakes = namesakes(word.lives, self._start_ms, word.followed_ms)
        self._holdings: list[Holding] = []
        self._seen: dict[str, list[Holding]] = {}  # by the pod's uid, where the API knows it
        self._all_along: dict[str, set[Place]] = {}  # as well: where it was seen all the time, and nowhere else
        self._on: dict[Slot, list[_Stay]] = {}
        self._held: set[tuple[str, int, str]] = set()
        self._differences = dict.fromkeys(DIFFERENCES, 0)
        self._problems: list[Problem] = []

    @cached_property
    def _offers(self) -> dict[Slot, Offer]:
        """Worked out where a pod is not simply where agents see it."""
        return {offer.slot: offer for offer in offers(self._existence, self._until)}

    def clip(self, holdings: Iterable[Holding]) -> None:
        """Take from what agents saw what lies between a pod's end and the next bind of its name."""
        for holding in holdings:
            pods = self._namesakes.get((holding.namespace, holding.pod))
            if pods is None:  # the API never knew it
                self._take(holding, "")
                continue
            if (only := pods.only(holding.start)) is not None:
                piece = as_bound(holding, only)
                self._take(piece, only.uid)
                self._seen.setdefault(only.uid, []).append(piece)
                if (piece.start, piece.end) == (0, self._until):
                    self._all_along.setdefault(only.uid, set()).add(place_of(piece))
                continue
            left = subtract(((holding.start, holding.end),), pods.over())
            for late in cut(holding, subtract(((holding.start, holding.end),), left)):
                self._differences[LATE] += (late.end - late.start) * len(holding.shares)
                if (life := pods.over_by(late.start)) is not None:  # over, and still it says where it was
                    self._seen.setdefault(life.uid, []).append(late)
            for piece in cut(holding, tuple(pods.cut(left))):
                life = pods.life_of(piece.start, piece.end)
                if life is not None:
                    piece = as_bound(piece, life)
                self._take(piece, life.uid if life else "")
                for each in pods.lived(piece.start, piece.end):
                    self._seen.setdefault(each.uid, []).append(piece)

    def was_seen_all_along(self, life: PodLife) -> bool:
        """On all that it was ever seen on: then there is nothing to fill or to place. Most pods are."""
        places = self._all_along.get(life.uid)
        if places is None or len(places) < len(self._seen[life.uid]):
            return False
        return all(place_of(what) in places for what in life.slots)

    def _take(self, holding: Holding, uid: str, *, guessed: bool = False) -> None:
        self._holdings.append(holding)
        for share in holding.shares:
            stay = _Stay((holding.start, holding.end), uid, holding.holder, holding.claim)
            self._on.setdefault((holding.device, share), []).append(stay)
            if uid and not guessed and holding.end == self._until:
                self._held.add((holding.device, share, uid))

    def fill(self, life: PodLife) -> None:
        """Extend a pod that agents saw: back to its bind, and across time in which it was not seen."""
        slots = {
            (what.device, share, what.container): what
            for what in (*life.slots, *map(slot_of, self._seen.get(life.uid, ())))
            for share in what.shares
        }
        given = self._given(life)
        for (device, share, _), what in sorted(slots.items()):
            seen_ms = given[what.container, what.resource]
            own, _ = self._stays(life, what, (device, share))
            if not subtract(self._window(life, self._last_seen_ms(seen_ms, own)), own):
                continue  # it was seen for as long as it was there
            # A share may be held though nobody offers it (a plugin that is away): it is there when its device is.
            offer = self._offers.get((device, share)) or self._offers.get((device, 0))
            if offer is None:
                continue
            seen = seen_ms - self._start_ms
            missing = self._missing(life, what, (device, share), offer, seen)
            for span in missing:
                self._take(holding_of(life, what, (device, share), span), life.uid)
            early = subtract(intersect(missing, offer.observed), ((seen, self._until),) if seen < self._until else ())
            self._differences[EARLY] += length(early)
            self._differences[MISSED] += length(subtract(intersect(missing, offer.observed), early))
            self._differences[UNOBSERVED] += length(subtract(missing, offer.observed))
            own, _ = self._stays(life, what, (device, share))
            since = intersect(self._window(life), ((seen, self._until),))
            self._differences[FREED] += length(subtract(intersect(since, offer.observed), own))

    def _given(self, life: PodLife) -> dict[tuple[str, str], int]:
        """When an agent first saw what a container was given of a resource, by both, unix ms: it is its own for life.

        The kubelet gives to one container after the other: the pod may have been seen before.
        """
        first_ms = life.seen_ms
        known = {} if first_ms is None else {(each.container, each.resource): first_ms for each in life.slots}
        given = dict(known) if first_ms is not None and first_ms < self._start_ms else {}
        for each in self._seen.get(life.uid, ()):
            what, at_ms = (each.container, each.resource), self._start_ms + each.start
            given[what] = min(given.get(what, at_ms), at_ms)
        return known | given

    def _last_seen_ms(self, seen_ms: int, own: Spans) -> int:
        """When it was last seen to come to a slot, be it again: until then it lived. seen_ms: for the first time."""
        return max(seen_ms, *(self._start_ms + start for start, _ in own)) if own else seen_ms

    def _window(self, life: PodLife, seen_ms: int = 0) -> Spans:
        """When the pod is known to have held, within the hour: by the API's word, and until it was seen to."""
        start = max(life.bound_ms - self._start_ms, 0)
        was_over = life.ended_ms is not None and seen_ms >= life.ended_ms  # an old kubelet listed it
        alive_ms = life.alive_ms if was_over else max(life.alive_ms, seen_ms)
        end = min(alive_ms - self._start_ms, self._until)
        return ((start, end),) if start < end else ()

    def _missing(self, life: PodLife, what: PodSlot, slot: Slot, offer: Offer, seen: int) -> Spans:
        """What is to be added on a slot: before the first sight, between two, and in unobserved time at its own.

        What a container was given is its own for life: where it is seen again, it had it all along (a kubelet that
        has just begun lists nobody). Consumers of one claim hold a slot together: none of them is in another's way.
        """
        own, others = self._stays(life, what, slot)
        window = self._window(life, self._last_seen_ms(self._start_ms + seen, own))
        free = subtract(intersect(window, offer.present), union(others + own))
        if not free:
            return ()
        # Before the first sight, but not before the slot's previous holder ended.
        previous = max((min(end, seen) for start, end in others if start < seen), default=0)
        found = intersect(free, ((previous, seen),)) if previous < seen else ()
        carried = (*slot, life.uid) in self._before
        if own:
            first, last = 0 if carried else own[0][0], own[-1][1]
            found = union(found + intersect(free, ((first, last),)))
        own = union(own + found)
        for start, end in subtract(offer.present, offer.observed):
            if (carried and start == 0) or any(b == start or a == end for a, b in own):
                found = union(found + intersect(free, ((start, end),)))
        return found

    def _stays(self, life: PodLife, what: PodSlot, slot: Slot) -> tuple[Spans, Spans]:
        """When the pod's container itself is on a slot, and when somebody is who keeps it off."""
        own: list[Span] = []
        others: list[Span] = []
        holder = (*life.name, what.container)
        for stay in self._on.get(slot, ()):
            if (stay.uid, stay.holder) == (life.uid, holder):
                own.append(stay.span)
            elif stay.holder == holder or what.claim is None or stay.claim != what.claim:
                others.append(stay.span)
        return union(own), union(others)

    def place(self, life: PodLife, same_price: Callable[[Sequence[Offer], PodLife], bool]) -> None:
        """A pod that no agent ever saw takes the first free slots, if all that are free cost the same."""
        if life.seen_ms is not None or life.uid in self._seen:
            return
        window = self._window(life)
        if not window:
            return
        # Where shares are held that nobody offers, one more would make the others smaller.
        unsure = {device for device, share in self._on if (device, share) not in self._offers}
        for container, resource, count in devices_asked_for(life.asks):
            free = [
                offer
                for _, offer in sorted(self._offers.items())
                if offer.gives(resource) and offer.device not in unsure and self._is_free(offer, window)
            ]
            if len(free) < count or not same_price(free, life):
                self._unplaced(life, f"{count} of {resource}", count * length(window))
                continue
            for offer in free[:count]:
                what = PodSlot(container=container, device=offer.device, shares=(offer.share,), resource=resource)
                for span in window:
                    self._take(holding_of(life, what, offer.slot, span), life.uid, guessed=True)
                self._differences[UNSEEN] += length(window)
        if life.uses_claims and not life.asks and not life.watches:
            self._unplaced(life, "devices of a claim", length(window))

    def _is_free(self, offer: Offer, window: Spans) -> bool:
        taken = union(stay.span for stay in self._on.get(offer.slot, ()))
        return not subtract(window, offer.present) and not intersect(window, taken)

    def _unplaced(self, life: PodLife, what: str, ms: int) -> None:
        self._differences[UNPLACED] += ms
        subject = f"{life.namespace}/{life.pod}: {what}"
        self._problems.append(Problem(kind=UNPLACED, subject=subject, ms=Fraction(ms)))

    def result(self) -> Metered:
        return Metered(
            holdings=tuple(sorted(self._holdings, key=_in_order)),
            held=tuple(sorted(self._held)),
            sights=tuple(self._sights()),
            differences={kind: ms for kind, ms in self._differences.items() if ms},
            problems=tuple(self._problems),
        )

    def _sights(self) -> Iterator[Sight]:
        """First sights, as far as this hour knows."""
        for life in self._word.lives:
            if life.seen_ms is not None and life.seen_ms <= self._start_ms:
                continue
            own = self._seen.get(life.uid, ())
            first_ms = min((self._start_ms + holding.start for holding in own), default=None)
            if first_ms is not None and (life.seen_ms is None or first_ms < life.seen_ms):
                slots = sorted({slot_of(holding) for holding in own}, key=lambda s: (s.container, s.device, s.shares))
                yield Sight(uid=life.uid, at_ms=first_ms, slots=tuple(slots))
