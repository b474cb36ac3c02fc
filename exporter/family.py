"""What a row of the agent's table of metrics is: see families.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from exporter.samples import Labels, Sample, View

Kind = Literal["gauge", "counter"]
GAUGE: Kind = "gauge"
COUNTER: Kind = "counter"

DEVICE_LABELS = ("uuid", "gpu", "model", "node", "mig_profile", "parent_uuid")
HOLDER_LABELS = (*DEVICE_LABELS, "namespace", "pod", "container")


@dataclass(frozen=True, slots=True)
class Family:
    """Positional, to be read as one row."""

    kind: Kind
    name: str
    labels: Labels
    help: str
    read: Callable[[View], Iterable[Sample]]
