"""The unit of account: the UTC hour, half-open, and the local days and months it belongs to.

An hour is its number since the Unix epoch. Times are unix milliseconds, or milliseconds from an hour's start.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

HOUR_MS = 3_600_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# What is asked for lies in these years, so that the month after it and the local day of it are dates too.
_YEAR = r"(?:19[7-9]\d|2\d{3})"
_HOUR = re.compile(rf"{_YEAR}-\d{{2}}-\d{{2}}T\d{{2}}Z", re.ASCII)
_DATE = re.compile(rf"{_YEAR}-\d{{2}}-\d{{2}}", re.ASCII)
_MONTH = re.compile(rf"{_YEAR}-(0[1-9]|1[0-2])", re.ASCII)


def parse_hour(text: str) -> int:
    """`2026-10-03T14Z` as an hour number. Raises ValueError for anything else."""
    try:
        at = datetime.fromisoformat(text if _HOUR.fullmatch(text) else "")
    except ValueError:
        raise ValueError(f"{text!r}: want an hour such as 2026-10-03T14Z") from None
    return (at - _EPOCH) // timedelta(hours=1)


def format_hour(hour: int) -> str:
    return datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m-%dT%HZ")


def format_instant(at_ms: int) -> str:
    """`2026-10-03T14:07:05.250Z`, without a fraction where there is none."""
    text = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{at_ms % 1000:03d}Z" if at_ms % 1000 else f"{text}Z"


def parse_instant(text: str, timezone: str = "UTC") -> int:
    """An ISO 8601 instant with its offset, in unix ms; a bare date is its midnight there. Raises ValueError."""
    try:
        at = datetime.fromisoformat(text if re.match(_YEAR, text, re.ASCII) else "")
    except ValueError:
        raise ValueError(f"{text!r}: want an instant such as 2026-10-03T14:00:00Z") from None
    if at.tzinfo is None:
        if not _DATE.fullmatch(text):
            raise ValueError(f"{text!r}: want an offset, such as 2026-10-03T14:00:00Z")
        return midnight_ms(at.date(), timezone)
    return (at - _EPOCH) // timedelta(milliseconds=1)


def check_month(text: str) -> str:
    """`2026-10`, checked. Raises ValueError."""
    if not _MONTH.fullmatch(text):
        raise ValueError(f"{text!r}: want a month such as 2026-10")
    return text


def check_day(text: str) -> date:
    """The local day `2026-10-03`. Raises ValueError."""
    try:
        return date.fromisoformat(text if _DATE.fullmatch(text) else "")
    except ValueError:
        raise ValueError(f"{text!r}: want a day such as 2026-10-03") from None


def month_after(month: str, count: int = 1) -> str:
    """The month `count` months later (earlier, if negative)."""
    index = int(month[:4]) * 12 + int(month[5:]) - 1 + count
    return f"{index // 12:04d}-{index % 12 + 1:02d}"


@lru_cache(maxsize=1024)
def midnight_ms(day: date, timezone: str) -> int:
    """The instant at which a local day begins."""
    local = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone))
    return int(local.timestamp()) * 1000


@lru_cache(maxsize=256)
def month_span_ms(month: str, timezone: str) -> tuple[int, int]:
    """Start and end of a local month."""
    after = month_after(month)
    return (
        midnight_ms(date(int(month[:4]), int(month[5:]), 1), timezone),
        midnight_ms(date(int(after[:4]), int(after[5:]), 1), timezone),
    )


@lru_cache(maxsize=4096)
def local_day(at_ms: int, timezone: str) -> date:
    return datetime.fromtimestamp(at_ms // 1000, ZoneInfo(timezone)).date()


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingInterval:
    """A part of an hour that lies in one local day. start, end: ms from the hour's start."""

    start: int
    end: int
    day: str
    month: str


@lru_cache(maxsize=4096)
def rating_intervals(hour: int, timezone: str) -> tuple[RatingInterval, ...]:
    """The hour, cut at local midnight where that falls inside it."""
    start_ms = hour * HOUR_MS
    first = local_day(start_ms, timezone)
    cut = midnight_ms(first + timedelta(days=1), timezone) - start_ms
    if cut >= HOUR_MS:
        return (_interval(0, HOUR_MS, first),)
    return (_interval(0, cut, first), _interval(cut, HOUR_MS, first + timedelta(days=1)))


def months_of_hour(hour: int, timezone: str) -> frozenset[str]:
    """The local months that an hour has a part of: one, or two."""
    return frozenset(interval.month for interval in rating_intervals(hour, timezone))


def _interval(start: int, end: int, day: date) -> RatingInterval:
    return RatingInterval(start=start, end=end, day=day.isoformat(), month=day.isoformat()[:7])
