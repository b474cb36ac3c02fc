"""How the history of a namespace's owner grows, and what it says: two layers, both only ever added to.

What was **seen** (labels, or rules where there are none) makes versions one after the other; a new one ends the one
before it. A **correction** is a person's dated word and lies over them: `timeline` says what holds at which instant.
Versions are numbered in the order in which they were recorded, so the newer one is the greater, whatever its dates.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from chargeback.core.hours import format_instant
from chargeback.core.owners.owners import FIELDS, Namespace, Owner

# Sources of a person's versions; those of the others are `api`, `file` or `rule:NAME`.
FILE = "file"
CORRECTION = "correction"
# Takes the corrections before it away, in its time.
CLEARED = "cleared"

# What makes another version.
_DIMENSIONS = "dimensions"
_SEEN = (*FIELDS, _DIMENSIONS)

# The clocks of one cluster differ by less; a time that is further ahead is not believed.
CLOCKS_DIFFER_MS = 600_000
# The API server writes its times in whole seconds, rounded down.
_API_TIME_STEP_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Version(Owner):
    """An owner, and how we know.

    Of a correction, as it is recorded, a field that is None stays as it was seen, and "" takes it away; what
    `timeline` gives has owners only.
    """

    uid: str | None = None
    source: str = ""
    recorded_ms: int = 0
    who: str | None = None
    why: str | None = None

    @property
    def is_seen(self) -> bool:
        return self.source not in (CORRECTION, CLEARED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What a look at a namespace adds to its history. ends: version → the instant at which it ends."""

    added: Version | None = None
    ends: Mapping[int, int] = field(default_factory=dict)
    uid: tuple[int, str] | None = None

    @property
    def from_ms(self) -> int | None:
        """The first instant whose owner is another now; None: none is."""
        instants = [*self.ends.values(), *([self.added.from_ms] if self.added else [])]
        return min(instants, default=None)


NOTHING = Learnt()


def learn(
    history: Sequence[Version], seen: Namespace | None, *, source: str, now_ms: int, looked_ms: int | None
) -> Learnt:
    """Take in what is seen of one namespace now; None: it is not there.

    history: its versions as recorded, by number. looked_ms: when its cluster was last looked at.
    """
    latest = latest_seen(history)
    if seen is None:
        if latest is None or latest.until_ms is not None:
            return NOTHING
        gone_ms = max(now_ms, latest.from_ms)
        return Learnt(ends={latest.version: gone_ms} | _ended(_open(history), gone_ms))
    owner = next_version(latest, seen, now_ms, looked_ms, dumped=source == FILE)
    if owner is None:
        assert latest is not None
        return Learnt(uid=(latest.version, seen.uid)) if latest.uid is None and seen.uid is not None else NOTHING
    added = replace(
        owner,
        version=next_number(history),
        source=f"rule:{seen.rule}" if seen.ruled else source,
        recorded_ms=now_ms,
    )
    # What a person said knowing of it stays; one recorded in the future is by a clock that is wrong.
    older = [each for each in _open(history) if not added.from_ms <= each.recorded_ms <= now_ms]
    if latest is not None and not _is_another(latest, seen):
        older = [each for each in older if each.from_ms <= added.from_ms]  # one that is still to come keeps its date
    ends = {latest.version: added.from_ms} if latest is not None and latest.until_ms is None else {}
    return Learnt(added=added, ends=ends | _ended(older, added.from_ms))


def correct(history: Sequence[Version], correction: Version) -> Version:
    """Number a correction, or a clearing of corrections, of one namespace.

    Without an end it holds until another owner is seen, or until the namespace ended. Raises ValueError where there
    is no instant at which it would hold.
    """
    latest = latest_seen(history)
    until_ms = correction.until_ms
    if until_ms is None and (latest is None or latest.until_ms is not None):
        if latest is None or latest.until_ms is None or latest.until_ms <= correction.from_ms:
            raise ValueError("until: missing: the namespace is not there any more, want an end")
        until_ms = latest.until_ms
    if until_ms is not None and until_ms <= correction.from_ms:
        raise ValueError(f"until: {format_instant(until_ms)}: want an instant after from")
    return replace(correction, version=next_number(history), until_ms=until_ms)


def next_version(
    latest: Version | None, seen: Namespace, now_ms: int, looked_ms: int | None, *, dumped: bool = False
) -> Version | None:
    """The version that follows from what is seen now; None where nothing changed.

    The first version holds from the namespace's creation (from ever, where that is not known), so that the past of a
    new installation is owned; so does that of another namespace of the same name. A later one holds from the time its
    labels were written, if that was after the last look, else from now: what was seen then stays as it was.
    dumped: it is from a file, which was true some time before it was read: labels' own times tell more than ours.
    """
    if latest is None:
        from_ms = seen.created_ms or 0
    elif _is_another(latest, seen):
        begun = seen.created_ms if seen.created_ms is not None else seen.labelled_ms
        if begun is None or begun > now_ms + CLOCKS_DIFFER_MS:
            begun = now_ms
        from_ms = max(begun, latest.from_ms + 1, latest.until_ms or 0)
    elif latest.until_ms is not None:
        from_ms = latest.until_ms  # it was not gone, it was not shown to us
    elif not (changed := {name for name in _SEEN if getattr(latest, name) != getattr(seen, name)}):
        return None
    elif not changed <= seen.ruled and _written_since(
        latest, seen, now_ms, looked_ms, dumped=dumped and not _may_be_configured(latest, seen, changed)
    ):
        assert seen.labelled_ms is not None
        from_ms = seen.labelled_ms
    else:
        from_ms = max(now_ms, latest.from_ms + 1)
    return Version(
        namespace=seen.name,
        uid=seen.uid,
        from_ms=from_ms,
        cost_center=seen.cost_center,
        team=seen.team,
        tier=seen.tier,
        dimensions=seen.dimensions,
    )


def is_stale(now_ms: int, looked_ms: int | None) -> bool:
    """Whether what was seen now is older than what was seen before. A clock that was put back by more is believed."""
    return looked_ms is not None and looked_ms - CLOCKS_DIFFER_MS <= now_ms < looked_ms


def latest_seen(history: Sequence[Version]) -> Version | None:
    return next((version for version in reversed(history) if version.is_seen), None)


def next_number(history: Sequence[Version]) -> int:
    return max((version.version for version in history), default=0) + 1


def timeline(history: Iterable[Version]) -> list[Version]:
    """What holds when, of one namespace: in order of time, no two at one instant.

    A correction wins over what was seen, the later recorded over the earlier, field by field.
    """
    ordered = sorted(history, key=lambda version: version.version)
    seen = [each for each in ordered if each.is_seen]
    corrections = [each for each in ordered if not each.is_seen]
    if not corrections:
        return [each for each in seen if each.until_ms is None or each.from_ms < each.until_ms]
    borders = sorted({at for each in ordered for at in (each.from_ms, each.until_ms) if at is not None})
    starts = [each.from_ms for each in seen]
    pieces: list[Version] = []
    for start_ms, end_ms in zip(borders, [*borders[1:], None], strict=True):
        began = bisect_right(starts, start_ms)
        below = seen[began - 1] if began and _holds(seen[began - 1], start_ms) else None
        found = _overlaid(below, (each for each in corrections if _holds(each, start_ms)))
        if found is None:
            continue
        piece = replace(found, from_ms=start_ms, until_ms=end_ms)
        if pieces and pieces[-1] == replace(piece, from_ms=pieces[-1].from_ms, until_ms=start_ms):
            pieces[-1] = replace(pieces[-1], until_ms=end_ms)
        else:
            pieces.append(piece)
    return pieces


def _holds(version: Version, at_ms: int) -> bool:
    return version.from_ms <= at_ms and (version.until_ms is None or at_ms < version.until_ms)


def _overlaid(seen: Version | None, corrections: Iterable[Version]) -> Version | None:
    found = seen
    for each in corrections:
        found = seen if each.source == CLEARED else _corrected(found, each)
    return found


def _corrected(before: Version | None, correction: Version) -> Version:
    def field_of(name: str) -> str | None:
        given: str | None = getattr(correction, name)
        return getattr(before, name, None) if given is None else given or None

    return replace(
        correction,
        uid=before.uid if before else None,
        cost_center=field_of("cost_center"),
        team=field_of("team"),
        tier=field_of("tier"),
        dimensions=before.dimensions if before else (),
    )


def _is_another(latest: Version, seen: Namespace) -> bool:
    """Whether it is another namespace of the same name. Where no UID tells, one that was gone is."""
    if latest.uid is not None and seen.uid is not None:
        return latest.uid != seen.uid
    return latest.until_ms is not None


def _written_since(latest: Version, seen: Namespace, now_ms: int, looked_ms: int | None, *, dumped: bool) -> bool:
    """Whether the labels were written since the last look, so that their time is the change's."""
    if seen.labelled_ms is None or not latest.from_ms < seen.labelled_ms <= now_ms + CLOCKS_DIFFER_MS:
        return False
    return dumped or seen.labelled_ms > (latest.recorded_ms if looked_ms is None else looked_ms) - _API_TIME_STEP_MS


def _may_be_configured(latest: Version, seen: Namespace, changed: Collection[str]) -> bool:
    """Whether it may be that only the configured dimensions are others: then it is from now on that they are."""
    return changed == {_DIMENSIONS} and all(
        value == dict(seen.dimensions).get(key, value) for key, value in latest.dimensions
    )


def _open(history: Iterable[Version]) -> list[Version]:
    return [each for each in history if each.source == CORRECTION and each.until_ms is None]


def _ended(corrections: Iterable[Version], at_ms: int) -> dict[int, int]:
    return {each.version: max(at_ms, each.from_ms) for each in corrections}
