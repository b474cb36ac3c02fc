"""Samples of the metrics about months and what waits for their close."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chargeback.core.hours import month_span_ms
from chargeback.store.months import APPROVED, CLOSED, DRAFT, OPEN

Sample = tuple[tuple[str, ...], float]

STATES = (OPEN, DRAFT, APPROVED, CLOSED)
# A year and the running month: older ones are closed or very late, which the age of the oldest says.
MONTHS_MAX = 13


def states(months: Mapping[str, str]) -> Iterator[Sample]:
    """Of the newest months: 1 for the state that each is in, 0 for the others."""
    for month in sorted(months)[-MONTHS_MAX:]:
        for state in STATES:
            yield (month, state), float(months[month] == state)


def unclosed_seconds(months: Mapping[str, str], timezone: str, now_ms: int) -> Iterator[Sample]:
    """How long ago the oldest month ended that is not closed; 0: all that are over are closed."""
    ends = [month_span_ms(month, timezone)[1] for month, state in months.items() if state != CLOSED]
    yield (), max(0, now_ms - min(ends, default=now_ms)) / 1000
