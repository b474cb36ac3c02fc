"""Pods of one name on one node, one after the other: when none of them was there, and which of them an agent saw.

The kubelet tells agents names and never uids, so only time tells namesakes apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chargeback.core.lives import PodLife
from chargeback.core.spans import Span, Spans, subtract, union
from chargeback.core.values import value

# So much the clocks of a node and of the API server may differ.
CLOCKS_MS = 5_000


@value
class Namesakes:
    """Lives of one name, as they were bound. start_ms: of the hour, from which the times below are counted."""

    lives: tuple[PodLife, ...]
    start_ms: int
    followed_ms: int

    def only(self, start: int) -> PodLife | None:
        """The one that there is, if it was bound by then and is not over: most pods are alone with their name."""
        life = self.lives[0]
        alone = len(self.lives) == 1 and life.ended_ms is None and life.bound_ms - self.start_ms <= start
        return life if alone else None

    def over(self) -> Spans:
        """From an end to the next bind, or up to when the API was followed."""
        ends = [life.ended_ms for life in self.lives if life.ended_ms is not None]
        if not ends:
            return ()
        lived = union(
            (life.bound_ms, self.followed_ms if life.ended_ms is None else life.ended_ms) for life in self.lives
        )
        over = subtract(((min(ends), self.followed_ms),), lived)
        return tuple((start - self.start_ms, end - self.start_ms) for start, end in over)

    def cut(self, spans: Iterable[Span]) -> Iterator[Span]:
        """The spans, cut where one was bound and the agent saw no break; not at a first start, for clocks differ."""
        binds = sorted({life.bound_ms - self.start_ms for life in self.lives})
        for start, end in spans:
            for bind in binds:
                if start + CLOCKS_MS < bind < end:
                    yield start, bind
                    start = bind
            yield start, end

    def life_of(self, start: int, end: int) -> PodLife | None:
        """Whose a holding is: the last one's that was bound before its end, or about when it began: clocks differ.

        None: a pod's that the API never knew.
        """
        last_bind = max(end - 1, start + CLOCKS_MS)
        there = [
            life
            for life in self.lives
            if life.bound_ms - self.start_ms <= last_bind and not self._ended_by(life, start)
        ]
        bound = [life for life in there if life.bound_ms - self.start_ms < end]
        return bound[-1] if bound else next(iter(there), None)

    def lived(self, start: int, end: int) -> Iterator[PodLife]:
        """All who certainly lived meanwhile, too: a static pod's mirror is made anew while the pod runs on."""
        own = self.life_of(start, end)
        for life in self.lives:
            if life is own or (life.bound_ms - self.start_ms < end and start < life.alive_ms - self.start_ms):
                yield life

    def over_by(self, at: int) -> PodLife | None:
        """The last that was over: what a kubelet before 1.34 goes on listing."""
        return next((life for life in reversed(self.lives) if self._ended_by(life, at)), None)

    def _ended_by(self, life: PodLife, at: int) -> bool:
        return life.ended_ms is not None and life.ended_ms - self.start_ms <= at


def namesakes(lives: Iterable[PodLife], start_ms: int, followed_ms: int) -> dict[tuple[str, str], Namesakes]:
    """Lives by namespace and name. Of those bound at one instant the one that lives longer comes last."""
    found: dict[tuple[str, str], list[PodLife]] = {}
    for life in lives:
        found.setdefault(life.name, []).append(life)
    for each in found.values():
        if len(each) > 1:
            each.sort(key=lambda life: (life.bound_ms, life.ended_ms is None, life.ended_ms or 0, life.uid))
    return {
        name: Namesakes(lives=tuple(each), start_ms=start_ms, followed_ms=followed_ms) for name, each in found.items()
    }
