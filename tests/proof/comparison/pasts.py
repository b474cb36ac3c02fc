"""How long a slot had been there before a line began, in its hour: from the lines themselves, for money telescopes.

By docs/arithmetic.md a line over [a, b) costs E(b) - E(a), each rounded down, and E runs from the hour's start or
from when the slot came to be. Where k holders of a device pay 1/k of it each, E is of what the holder himself had.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from tests.proof.comparison.export import HELD, PLATFORM, Line

OF_CARD = frozenset({"gap", "unpartitioned", "excess", "rounding"})  # not about one device
Span = tuple[int, int]


class Pasts:
    """Of all devices and hours. In card-milliseconds of one share: a UUID may come again as another slice."""

    def __init__(self, lines: Iterable[Line], *, own: bool = False) -> None:
        """lines: of whole hours. own: what a slot was before counts for who held it then, and for nobody else."""
        self._own = own
        self._held: dict[tuple[object, ...], list[tuple[int, Fraction]]] = {}
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
            if line.kind in HELD:
                for share in line.shares:
                    had = (line.until_ms, line.card_ms / len(line.shares))
                    self._held.setdefault(_stream(line, share), []).append(had)
            per_share = line.card_ms / line.ms / max(1, len(line.shares))
            spans = self._spans.setdefault((line.device, line.hour), {})
            spans[span] = per_share if spans.get(span, per_share) == per_share else None

    def before(self, line: Line) -> Fraction | None:
        """What one share had been before the line began; None: its lines do not say."""
        if self._own:
            return self._before_own(line)
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

    def _before_own(self, line: Line) -> Fraction | None:
        """The same for each of the line's shares, or else it is not said."""
        found = {
            sum((ms for until_ms, ms in self._held[_stream(line, share)] if until_ms <= line.from_ms), Fraction(0))
            for share in line.shares
        }
        return found.pop() if len(found) == 1 else None


def _stream(line: Line, share: int) -> tuple[object, ...]:
    return (line.holder, line.device, share, line.hour)
