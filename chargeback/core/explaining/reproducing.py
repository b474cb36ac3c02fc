"""Whether a line is still what rating gives: the same functions, asked again, and compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

from chargeback.core.corrections import as_charge, is_same, opposite
from chargeback.core.hours import format_instant
from chargeback.core.lines import Line
from chargeback.core.money import format_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """is_same: None: that cannot be told. why: for people."""

    is_same: bool | None
    why: str


# By which versions a line was rated; another version may come to the same.
_VERSIONS = ("owner_version", "plan_version", "price_version", "policy_version")
# Where a line is posted, and numbers that say the same over another denominator.
_LEFT_OUT = frozenset({"month", "day", "part", "corrects", "corrects_month", "ms_den", *_VERSIONS})


def rated_again(line: Line, rated: Iterable[Line], timezone: str) -> Answer:
    """Of a charge, or of what stands in its place. rated: charges of the hour, as they are rated now."""
    was = as_charge(line, timezone)
    now = next((each for each in rated if each.key == line.key), None)
    if now is None:
        return Answer(is_same=False, why="rating this hour now gives no such line")
    if not is_same(was, now):
        different = ", ".join(_differences(was, now)) or "another time of the card"
        return Answer(is_same=False, why=f"rating this hour now gives another: {different}")
    beside = [*_rest(was, now), *_versions(was, now)]
    if not beside:
        return Answer(is_same=True, why="rating this hour again gives this very line")
    why = f"rating this hour again gives the same money and time; other than then: {', '.join(beside)}"
    return Answer(is_same=True, why=why)


def taken_back(line: Line, original: Line | None) -> Answer:
    """Of a reversal."""
    if original is None:
        return Answer(is_same=None, why=f"line {line.corrects}, which it takes back, is no longer there")
    if opposite(original, line.month) == line:
        return Answer(is_same=True, why=f"it is the exact opposite of line {original.line_id[:12]}")
    return Answer(is_same=False, why=f"it is not the opposite of line {original.line_id[:12]}")


def one_of(line: Line, made: Sequence[Line], what: str) -> Answer:
    """Of a line that is one of some made together, by whichever version of the policy."""
    if line in [replace(each, policy_version=line.policy_version) for each in made]:
        return Answer(is_same=True, why=f"{what} gives this very line")
    return Answer(is_same=False, why=f"{what} gives no such line: by what holds now it is another")


def _differences(was: Line, now: Line) -> list[str]:
    """Of account, money and span, in words: the line's value last."""
    found = [_changed(name, was, now) for name in ("account", "list_micros", "amount_micros")]
    if (was.start_ms, was.end_ms) != (now.start_ms, now.end_ms):
        found.append(f"up to {format_instant(now.end_ms)} instead of {format_instant(was.end_ms)}")
    return [text for text in found if text]


def _rest(was: Line, now: Line) -> list[str]:
    """Of all that a bill does not go by."""
    names = [each.name for each in fields(Line) if each.name not in _LEFT_OUT and not each.name.endswith("_num")]
    return [text for name in names if (text := _changed(name, was, now))]


def _versions(was: Line, now: Line) -> list[str]:
    return [text for name in _VERSIONS if (text := _changed(name, was, now))]


def _changed(name: str, was: Line, now: Line) -> str:
    if getattr(was, name) == getattr(now, name):
        return ""
    words = name.removesuffix("_micros").replace("_", " ")
    return f"{words} {_show(name, now)} instead of {_show(name, was)}"


def _show(name: str, line: Line) -> str:
    value = getattr(line, name)
    if value is None:
        return "none"
    return format_micros(value) if name.endswith("_micros") else str(value)
