"""A price for more than a card's hour, spread over hours and cards so that the parts sum to it, to the micro."""

from __future__ import annotations

from fractions import Fraction

from chargeback.core.hours import HOUR_MS, local_day, month_span_ms
from chargeback.core.money import MS_PER_HOUR, whole_micros


def hourly_of_month(month_price: Fraction, start_ms: int, end_ms: int, timezone: str) -> Fraction:
    """The hourly price in [start, end) of a price for the local month: over all its hours it sums exactly.

    Hour k of a month of H hours costs ⌊P(k+1)/H⌋ − ⌊Pk/H⌋; a part of an hour likewise, by its milliseconds.
    """
    month_start, month_end = month_span_ms(local_day(start_ms, timezone).isoformat()[:7], timezone)
    part = _telescoped(month_price / (month_end - month_start), start_ms - month_start, end_ms - month_start)
    return Fraction(part * MS_PER_HOUR, end_ms - start_ms)


def hourly_of_card(node_price: Fraction, number: int, cards: int, start_ms: int, end_ms: int) -> Fraction:
    """The hourly price in [start, end), inside a UTC hour, of card `number` of a node's `cards` (from 0).

    What the node costs in that time, N, is shared among its cards: card i costs ⌊N(i+1)/k⌋ − ⌊Ni/k⌋. The parts of
    an hour that a local midnight cuts sum to the whole hour's N.
    """
    assert 0 <= number < cards
    since = start_ms % HOUR_MS
    node = _telescoped(node_price / MS_PER_HOUR, since, since + end_ms - start_ms)
    part = _telescoped(Fraction(node, cards), number, number + 1)
    return Fraction(part * MS_PER_HOUR, end_ms - start_ms)


def _telescoped(each: Fraction, begin: int, end: int) -> int:
    return whole_micros(each * end) - whole_micros(each * begin)
