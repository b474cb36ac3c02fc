"""Dimensions: labels of pods and namespaces that are kept on a holder's lines, for reports to group by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# A line's labels, as (key, value) in bytewise order of keys.
Labels = tuple[tuple[str, str], ...]

# Each is a column of some reports, and tells rows of the daily totals apart.
DIMENSIONS_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimensions:
    """Which label keys of namespaces, and which of pods, are kept; in bytewise order."""

    namespace: tuple[str, ...] = ()
    pod: tuple[str, ...] = ()


NO_DIMENSIONS = Dimensions()


def labels_of(keys: Iterable[str], labels: Mapping[str, str]) -> Labels:
    """Those of some keys that are there; an empty label counts as absent."""
    return tuple((key, labels[key]) for key in sorted(keys) if labels.get(key))


def laid_over(below: Labels, above: Labels) -> Labels:
    """Both; where both have a key, what is above wins."""
    return tuple(sorted((dict(below) | dict(above)).items())) if below and above else above or below


def write_dimensions(dimensions: Sequence[tuple[str, str]]) -> str:
    """As the ledger keeps them: the same text for the same labels, so that totals can be grouped by it."""
    return json.dumps(dimensions, separators=(",", ":")) if dimensions else "[]"


def read_dimensions(text: str) -> Labels:
    return tuple((key, value) for key, value in json.loads(text)) if text != "[]" else ()
