"""Prometheus' text format (version 0.0.4) of our own table, written at once.

prometheus_client's writer checks and escapes every label of every sample anew: of a beat on a node of 64 devices that
was the greater half. Here the text of a sample's labels is kept from one page to the next. (And without the library
the agent has 1 MiB less.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from exporter.family import Family
from exporter.samples import Labels, View

_IN_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})
_IN_LABEL = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class TextPage:
    """Writes pages of one table."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = tuple((family, _head(family)) for family in families)
        self._texts: dict[tuple[Labels, Labels], str] = {}

    def write(self, view: View) -> bytes:
        """The whole page. Remembers the labels of this page only: those of what is gone are forgotten."""
        parts: list[str] = []
        known, used = self._texts, dict[tuple[Labels, Labels], str]()
        for family, head in self._families:
            parts.append(head)
            for labels, value in family.read(view):
                key = family.labels, labels
                text = used[key] = known.get(key) or _labels(*key)
                parts.append(f"{family.name}{text} {_number(value)}\n")
        self._texts = used
        return "".join(parts).encode()


def _head(family: Family) -> str:
    return f"# HELP {family.name} {family.help.translate(_IN_HELP)}\n# TYPE {family.name} {family.kind}\n"


def _labels(names: Labels, values: Labels) -> str:
    pairs = sorted(zip(names, values, strict=True))
    text = ",".join(f'{name}="{value.translate(_IN_LABEL)}"' for name, value in pairs)
    return f"{{{text}}}" if text else ""


def _number(value: float) -> str:
    """As Go's strconv.ParseFloat reads it; Python writes the infinite otherwise."""
    value = float(value)
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)
