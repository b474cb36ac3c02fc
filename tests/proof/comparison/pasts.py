"""How long a slot had been there before a line began, in its hour: from the lines themselves, for money telescopes.

By docs/arithmetic.md a line over [a, b) costs E(b) - E(a), each rounded down, and E runs from the hour's start or
from when the slot came to be.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from tests.proof.comparison.export import PLATFORM, Line

OF_CARD = frozenset({"gap", "unpartitioned", "excess", "rounding"})  # not about one device
Span = tuple[int, int]


class Pasts:
    """Of all devices and hours. In card-milliseconds of one share: a UUID may come again as another slice."""

    def __init__(self, lines: Iterable[Line]) -> None:
        """lines: of whole hours."""
        self._spans: dict[tuple[str, int], dict[Span, Fraction | None]] = {}
        self._gaps: dict[tuple[str, int], list[Span]] = {}
        for line in lines:
            span = (line.from_ms, line.until_ms)
            if line.kind == "gap":
                self._gaps.setdefault((line.gpu, line.hour), []).append(span)
            if not line.has_time or line.kind in OF_CARD or line.ms <= 0:
                continue
            if line.kind in PLATFORM and line.device == line.gpu and line.kind == "unhealthy":
                continue  # of the card, or of what of it no instance covers: it does not say
            per_share = line.card_ms / line.ms / max(1, len(line.shares))
            spans = self._spans.setdefault((line.device, line.hour), {})
            spans[span] = per_share if spans.get(span, per_share) == per_share else None

    def before(self, line: Line) -> Fraction | None:
        """What one share had been before the line began; None: its lines do not say."""
        at_ms, found = line.from_ms, Fraction(0)
        if any(begin < at_ms for begin, _ in self._gaps.get((line.gpu, line.hour), ())):
            return None
        spans = self._spans.get((line.device, line.hour), {})
        reached_ms: int | None = None
        for (begin, end), per_share in sorted(spans.items()):
            if begin >= at_ms:
                break
            if per_share is None or (reached_ms is not None and begin > reached_ms):
                return None
            new = min(end, at_ms) - max(begin, begin if reached_ms is None else reached_ms)
            if new > 0:
                found += per_share * new
            reached_ms = max(end, reached_ms or end)
        return found if reached_ms is None or reached_ms >= at_ms else None
