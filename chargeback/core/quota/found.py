"""What a rule of the quota lint found: where, what the cluster really does, and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """object, field: where; what: what the cluster really does; mend: what to write instead."""

    object: str
    field: str
    what: str
    mend: str
