"""When will a quota be full? A straight line through its use of the last hours, or no answer."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Generic, TypeVar

# One sample a minute for six hours: long enough for a working day's trend, short enough to forget last night.
EVERY_MS = 60_000
KEPT_MS = 6 * 3_600_000
# Of less than ten minutes no trend can be told.
SPAN_MIN_MS = 10 * 60_000
_MILLI = 1000

K = TypeVar("K", bound=Hashable)


class Samples(Generic[K]):
    """The recent use of every key, in two arrays a key, for there are thousands of keys.

    Numbers are kept in thousandths, times in unix ms. Not safe to be written by two threads.
    """

    def __init__(self) -> None:
        self._of: dict[K, tuple[array[int], array[int]]] = {}
        self._slopes: dict[K, Fraction | None] = {}  # until the next sample

    def add(self, used: Mapping[K, Decimal], now_ms: int) -> None:
        """Take a sample, unless the last one is younger than a minute. Keys that are gone are forgotten."""
        for gone in self._of.keys() - used.keys():
            del self._of[gone]
            self._slopes.pop(gone, None)
        for key, value in used.items():
            times, values = self._of.setdefault(key, (array("q"), array("q")))
            if times and now_ms < times[0]:  # the clock was set back: what is known is of another time
                del times[:], values[:]
            if times and now_ms - times[-1] < EVERY_MS:
                continue
            self._slopes.pop(key, None)
            times.append(now_ms)
            values.append(int(value * _MILLI))
            expired = sum(1 for at in times if at <= now_ms - KEPT_MS) if times[0] <= now_ms - KEPT_MS else 0
            del times[:expired], values[:expired]

    def kept(self, key: K) -> int:
        """How many samples there are of a key."""
        return len(self._of[key][0]) if key in self._of else 0

    def saturation_s(self, key: K, hard: Decimal, used: Decimal) -> Fraction | None:
        """Seconds until `used` reaches `hard` if it goes on as in the samples; 0: it has.

        None: too few samples, or it does not rise.
        """
        if used >= hard:
            return Fraction(0)
        times, values = self._of.get(key, (array("q"), array("q")))
        if len(times) < 2 or times[-1] - times[0] < SPAN_MIN_MS:
            return None
        if key not in self._slopes:
            self._slopes[key] = slope(zip(times, values, strict=True))
        per_ms = self._slopes[key]
        if per_ms is None or per_ms <= 0:
            return None
        return Fraction((hard - used) * _MILLI) / per_ms / 1000


def slope(points: Iterable[tuple[int, int]]) -> Fraction | None:
    """By least squares, exactly; None where all points have one time."""
    points = list(points)
    first = points[0][0] if points else 0
    count, xs, ys, xx, xy = len(points), 0, 0, 0, 0
    for at, y in points:
        x = at - first
        xs, ys, xx, xy = xs + x, ys + y, xx + x * x, xy + x * y
    spread = count * xx - xs * xs
    return Fraction(count * xy - xs * ys, spread) if spread else None
