"""What people wrote into quotas and plans and cannot mean: a value, named by where it stands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaProblem:
    """object, field: where; what: what was seen, and what is wanted."""

    namespace: str
    object: str
    field: str
    what: str

    def __str__(self) -> str:
        return f"{self.object}: {self.field}: {self.what}"
