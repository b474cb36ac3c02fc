"""How the history of plans grows: versions are added and ended, never rewritten.

Versions of a namespace are numbered in the order in which they were recorded, whatever their dates and layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from chargeback.core.plans.book import FILE, SEEN, PlanVersion, open_ended, timeline
from chargeback.core.plans.sources import Plan
from chargeback.core.quota.problems import QuotaProblem

# More than any cluster has; beyond it a number is a slip.
DEVICES_MAX = 1_000_000

# What two versions are compared by: what they say, not when or how it was learnt.
_SAID = ("resource", "guaranteed", "cap", "price_key", "problem")


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What becomes of a namespace's versions. ends: version → the instant at which it ends."""

    added: tuple[PlanVersion, ...] = ()
    ends: Mapping[int, int] = field(default_factory=dict)

    @property
    def from_ms(self) -> int | None:
        """The first instant at which something else holds now; None: nothing does."""
        return min([*self.ends.values(), *(each.from_ms for each in self.added)], default=None)

    @property
    def until_ms(self) -> int | None:
        """The first instant from which all is as it was; None: it never is again."""
        ends = [each.until_ms for each in self.added]
        return None if self.ends or None in ends else max(end for end in ends if end is not None)


NOTHING = Learnt()


def seen_plans(found: Iterable[Plan], problems: Iterable[QuotaProblem]) -> dict[str, PlanVersion]:
    """What annotations and quotas say now, by namespace. Where they contradict themselves there is no number."""
    wrong: dict[str, list[str]] = {}
    for problem in problems:
        wrong.setdefault(problem.namespace, []).append(str(problem))
    seen: dict[str, PlanVersion] = {}
    for plan in found:
        said = wrong.get(plan.namespace, [])
        numbers: list[int | None] = []
        for number in (plan.guaranteed, plan.cap):
            too_many = number is not None and number > DEVICES_MAX
            said += [f"{number:f}: want no more than {DEVICES_MAX} devices"] if too_many else []
            numbers.append(None if number is None or too_many else int(number))
        guaranteed, cap = numbers
        seen[plan.namespace] = PlanVersion(
            namespace=plan.namespace,
            resource=plan.resource,
            guaranteed=guaranteed,
            cap=cap,
            price_key=plan.price_key,
            source=plan.source,
            problem="; ".join(said) or None,
        )
    return seen


def learn(history: Sequence[PlanVersion], seen: PlanVersion | None, now_ms: int) -> Learnt:
    """Take in what is seen of one namespace now; None: it has no plan. It holds from now on: the past stays."""
    latest = next((each for each in reversed(history) if each.layer == SEEN), None)
    is_open = latest is not None and latest.until_ms is None
    if seen is None:
        return Learnt(ends={latest.version: max(now_ms, latest.from_ms)}) if latest and is_open else NOTHING
    if latest is not None and is_open and all(getattr(latest, name) == getattr(seen, name) for name in _SAID):
        return NOTHING
    from_ms = now_ms if latest is None else max(now_ms, latest.from_ms, latest.until_ms or 0)
    added = replace(seen, layer=SEEN, from_ms=from_ms, until_ms=None, version=_next(history), recorded_ms=now_ms)
    return Learnt(added=(added,), ends={latest.version: from_ms} if latest and is_open else {})


def file_change(history: Sequence[PlanVersion], wanted: Iterable[PlanVersion], *, now_ms: int, who: str) -> Learnt:
    """What makes of a namespace's plans by file what a file says now; nothing, where it is the same.

    wanted: the file's entries of that namespace, no two of one track at once. Only the time in which the two differ
    gets new versions; where the file says nothing any more, one that says nothing.
    """
    before, after = _tracks(each for each in history if each.layer == FILE), _tracks(wanted)
    added: list[PlanVersion] = []
    for track in sorted(before.keys() | after.keys()):
        old, new = timeline(before.get(track, ())), sorted(after.get(track, ()), key=lambda each: each.from_ms)
        borders = sorted({at for each in (*old, *new) for at in (each.from_ms, each.until_ms) if at is not None})
        for start_ms, end_ms in open_ended(borders):
            is_now, is_wanted = _at(old, start_ms), _at(new, start_ms)
            if _said(is_now) == _said(is_wanted):
                continue
            said = is_wanted or PlanVersion(namespace=history[0].namespace, resource=track[0], price_key=track[1])
            last = added[-1] if added else None
            if last is not None and last.until_ms == start_ms and _said(last) == _said(said) and last.track == track:
                added[-1] = replace(last, until_ms=end_ms)
                continue
            version = _next(history) + len(added)
            piece = replace(said, from_ms=start_ms, until_ms=end_ms, version=version, layer=FILE)
            added.append(replace(piece, recorded_ms=now_ms, who=who))
    return Learnt(added=tuple(added))


def _tracks(versions: Iterable[PlanVersion]) -> dict[tuple[str, str], list[PlanVersion]]:
    found: dict[tuple[str, str], list[PlanVersion]] = {}
    for each in versions:
        found.setdefault((each.resource, each.price_key), []).append(each)
    return found


def _at(pieces: Iterable[PlanVersion], at_ms: int) -> PlanVersion | None:
    return next((each for each in pieces if each.holds(at_ms)), None)


def _said(version: PlanVersion | None) -> tuple[object, ...] | None:
    if version is None or version.says_nothing:
        return None
    return tuple(getattr(version, name) for name in _SAID)


def _next(history: Sequence[PlanVersion]) -> int:
    return max((each.version for each in history), default=0) + 1
