"""Takes the keys of a scenario file one by one and notes what is wrong with each, so that all problems come at once.

A method that finds a bad value notes it and returns a stand-in; a file with a problem is never simulated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

_DURATION = re.compile(r"(\d{1,9})(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MISSING = object()


@dataclass(slots=True)
class Problems:
    """What is wrong with a file: one line a key, with what was seen and what is wanted."""

    source_name: str
    lines: list[str] = field(default_factory=list)

    def note(self, path: str, seen: object, wanted: str) -> None:
        what = "missing" if seen is _MISSING else f"{seen!r}"
        self.lines.append(f"{self.source_name}: {path}: {what}: want {wanted}")


class Fields:
    """One mapping of the file. Ask for every key it may have, then call `done`, which refuses all others.

    fine  no problem with this mapping so far
    """

    def __init__(self, value: object, path: str, problems: Problems) -> None:
        self._path = path
        self.problems = problems
        self._asked: set[str] = set()
        self._is_mapping = isinstance(value, dict)
        self._values: dict[object, object] = {}
        if isinstance(value, dict):
            # YAML 1.1 takes the key `on` for a boolean.
            self._values = {"on" if key is True else key: each for key, each in value.items()}
        else:
            problems.note(path or "the file", value, "a mapping of keys to values")
        self.fine = self._is_mapping

    def path(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def has(self, key: str) -> bool:
        return key in self._values

    def wrong(self, key: str, wanted: str) -> None:
        self.fine = False
        if self._is_mapping:  # else one line has said it all
            self.problems.note(self.path(key), self._values.get(key, _MISSING), wanted)

    def _take(self, key: str) -> object:
        self._asked.add(key)
        return self._values.get(key, _MISSING)

    def text(self, key: str, default: str | None = None, *, wanted: str = "a text", like: str = r".+") -> str:
        """A text that the pattern `like` matches as a whole. Without a default the key must be there."""
        value = self._take(key)
        if value is _MISSING and default is not None:
            return default
        if isinstance(value, str) and re.fullmatch(like, value):
            return value
        self.wrong(key, wanted)
        return default or ""

    def whole(self, key: str, low: int, high: int, default: int | None = None) -> int:
        value = self._take(key)
        if value is _MISSING and default is not None:
            return default
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.wrong(key, f"a whole number from {low} to {high}")
        return low

    def true(self, key: str) -> None:
        if self._take(key) is not True:
            self.wrong(key, "true")

    def ratio(self, key: str, default: float) -> float:
        value = self._take(key)
        if value is _MISSING:
            return default
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            return float(value)
        self.wrong(key, "a number from 0 to 1")
        return default

    def duration_ms(self, key: str, default_ms: int | None = None) -> int:
        value = self._take(key)
        if value is _MISSING and default_ms is not None:
            return default_ms
        if isinstance(value, str) and (found := _DURATION.fullmatch(value)):
            return int(found[1]) * _UNIT_MS[found[2]]
        self.wrong(key, "a duration like 37s, 30m, 6h or 7d")
        return 0

    def instant_ms(self, key: str) -> int:
        value = self._take(key)
        if isinstance(value, str):
            with suppress(ValueError):  # what stays a text is refused below
                value = datetime.fromisoformat(value)
        if isinstance(value, datetime) and value.tzinfo is not None:
            return round(value.astimezone(UTC).timestamp() * 1000)
        self.wrong(key, "a time with its zone, like 2026-10-03T14:20:00Z")
        return 0

    def items(self, key: str, most: int, *, may_miss: bool = False) -> Iterator[tuple[str, object]]:
        """The entries of a list, each with its path."""
        value = self._take(key)
        if value is _MISSING and may_miss:
            return
        if isinstance(value, list) and (may_miss or value) and len(value) <= most:
            yield from ((f"{self.path(key)}[{index}]", item) for index, item in enumerate(value))
        else:
            self.wrong(key, f"a list of {'at most' if may_miss else '1 to'} {most} entries")

    def entries(self, key: str, most: int, *, may_miss: bool = False) -> Iterator[Fields]:
        """The entries of a list of mappings."""
        for path, value in self.items(key, most, may_miss=may_miss):
            yield Fields(value, path, self.problems)

    def fields(self, key: str) -> Fields:
        return Fields(self._take(key), self.path(key), self.problems)

    def done(self) -> None:
        for key, value in self._values.items():
            if key not in self._asked:
                self.fine = False
                self.problems.note(self.path(str(key)), value, f"only the keys {', '.join(sorted(self._asked))}")
