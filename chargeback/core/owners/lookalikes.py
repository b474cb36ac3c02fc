"""Names that people may take for one another. They are never merged: whose money it is, only people know."""

from __future__ import annotations

from collections.abc import Iterable


def look_alikes(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that differ only by case and by which separator they use, each and all in bytewise order."""
    groups: dict[str, set[str]] = {}
    for name in names:
        groups.setdefault(name.casefold().replace("_", "-"), set()).add(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)
