"""Plans with history: how many GPUs a namespace is guaranteed, and capped at, at which instant, and as what.

Two layers, both only ever added to. What was **seen** (annotations, or a quota's pair) makes versions one after the
other. A **file** is people's dated word and lies over it: where it says something of a namespace's resource, what was
seen of that resource is not asked. Of one layer the version recorded last wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

FILE, SEEN = "file", "seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanVersion:
    """What holds in [from_ms, until_ms), as one source says it.

    resource    of which devices are counted, such as nvidia.com/gpu
    guaranteed  devices; None: none is guaranteed, or what was written contradicts itself
    cap         devices; None: not said
    price_key   what a unit is priced as: a model, `model / profile`, or a sku; empty: as what the cluster has
    source      annotation or quota; of a file its name
    problem     why there is no number where one was meant; None: nothing is wrong
    """

    namespace: str
    resource: str
    guaranteed: int | None = None
    cap: int | None = None
    price_key: str = ""
    from_ms: int = 0
    until_ms: int | None = None
    version: int = 0
    layer: str = SEEN
    source: str = ""
    recorded_ms: int = 0
    who: str | None = None
    why: str | None = None
    problem: str | None = None

    def holds(self, at_ms: int) -> bool:
        return self.from_ms <= at_ms and (self.until_ms is None or at_ms < self.until_ms)

    @property
    def says_nothing(self) -> bool:
        """It takes away what its layer said before."""
        return self.guaranteed is None and self.cap is None and self.problem is None

    @property
    def track(self) -> tuple[str, str]:
        """What it is about, of one namespace: a file may guarantee devices of several models."""
        return (self.resource, self.price_key if self.layer == FILE else "")


def timeline(versions: Iterable[PlanVersion]) -> list[PlanVersion]:
    """What holds when, of one namespace, layer and track: in order of time, no two at one instant.

    A piece keeps its version's number, and has the version's own dates as far as nothing later lies over it.
    """
    ordered = sorted(versions, key=lambda each: each.version)
    borders = sorted({at for each in ordered for at in (each.from_ms, each.until_ms) if at is not None})
    pieces: list[PlanVersion] = []
    for start_ms, end_ms in open_ended(borders):
        found = next((each for each in reversed(ordered) if each.holds(start_ms)), None)
        if found is None:
            continue
        last = pieces[-1] if pieces else None
        if last is not None and last.version == found.version and last.until_ms == start_ms:
            pieces[-1] = replace(last, until_ms=end_ms)
        else:
            pieces.append(replace(found, from_ms=start_ms, until_ms=end_ms))
    return [each for each in pieces if not each.says_nothing]


def open_ended(borders: Sequence[int]) -> Iterator[tuple[int, int | None]]:
    """From each border to the next; from the last one on."""
    return zip(borders, (*borders[1:], None), strict=False)  # of none there is none


class PlanBook:
    """The plans of one cluster."""

    def __init__(self, versions: Iterable[PlanVersion]) -> None:
        by_track: dict[tuple[str, str, tuple[str, str]], list[PlanVersion]] = {}
        for each in versions:
            by_track.setdefault((each.namespace, each.layer, each.track), []).append(each)
        self._of: dict[str, list[PlanVersion]] = {}
        for namespace, _, _ in sorted(by_track):
            self._of.setdefault(namespace, [])
        for (namespace, _, _), mine in sorted(by_track.items()):
            self._of[namespace] += timeline(mine)

    def at(self, namespace: str, at_ms: int) -> tuple[PlanVersion, ...]:
        """The plans in force at an instant, one a resource and price key, in bytewise order of those."""
        held = [each for each in self._of.get(namespace, ()) if each.holds(at_ms)]
        filed = {each.resource for each in held if each.layer == FILE}
        kept = [each for each in held if each.layer == FILE or each.resource not in filed]
        return tuple(sorted(kept, key=lambda each: (each.resource, each.price_key)))

    def changes(self, namespace: str, start_ms: int, end_ms: int) -> list[int]:
        """Instants strictly inside (start, end) at which a plan of a namespace begins, changes or ends."""
        instants = {at for each in self._of.get(namespace, ()) for at in (each.from_ms, each.until_ms)}
        return sorted(at for at in instants if at is not None and start_ms < at < end_ms)

    def namespaces(self, start_ms: int, end_ms: int) -> list[str]:
        """Those that have a plan somewhere in [start, end), in bytewise order."""
        return sorted(
            namespace
            for namespace, pieces in self._of.items()
            if any(each.from_ms < end_ms and (each.until_ms is None or start_ms < each.until_ms) for each in pieces)
        )
