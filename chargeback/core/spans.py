"""Sets of half-open intervals, as sorted disjoint tuples of (start, end)."""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[int, int]
Spans = tuple[Span, ...]


def union(spans: Iterable[Span]) -> Spans:
    """Sorted, disjoint, touching spans joined."""
    ordered = sorted(spans)
    if len(ordered) == 1:  # most are
        return tuple(ordered) if ordered[0][0] < ordered[0][1] else ()
    joined: list[Span] = []
    for start, end in ordered:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        elif start < end:
            joined.append((start, end))
    return tuple(joined)


def intersect(left: Spans, right: Spans) -> Spans:
    if len(left) == len(right) == 1:
        start, end = max(left[0][0], right[0][0]), min(left[0][1], right[0][1])
        return ((start, end),) if start < end else ()
    both = [(max(a, c), min(b, d)) for a, b in left for c, d in right if max(a, c) < min(b, d)]
    return union(both)


def subtract(left: Spans, right: Spans) -> Spans:
    """What of `left` is not in `right`."""
    rest: list[Span] = []
    for start, end in left:
        for cut_start, cut_end in right:
            if cut_end <= start or cut_start >= end:
                continue
            if start < cut_start:
                rest.append((start, cut_start))
            start = cut_end
        if start < end:
            rest.append((start, end))
    return tuple(rest)


def covers(spans: Spans, start: int, end: int) -> bool:
    """Whether one of the disjoint, joined spans contains [start, end)."""
    if len(spans) == 1:  # most are
        return spans[0][0] <= start and end <= spans[0][1]
    return any(a <= start and end <= b for a, b in spans)


def length(spans: Iterable[Span]) -> int:
    return sum(end - start for start, end in spans)
