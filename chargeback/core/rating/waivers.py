"""Waivers: time that holders do not pay for, by a person's word (an outage, work that is not to be billed)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """Whoever holds within [from_ms, until_ms) and what it names; a field that is None names all.

    kind     of the lines: `outage` or `nonbillable`
    gpu      the uuid of the card
    cost_center, team  as they are on the line
    """

    kind: str
    from_ms: int
    until_ms: int
    cluster: str | None = None
    node: str | None = None
    gpu: str | None = None
    namespace: str | None = None
    cost_center: str | None = None
    team: str | None = None

    def is_of(
        self, *, cluster: str, node: str, gpu: str, namespace: str, cost_center: str | None, team: str | None
    ) -> bool:
        """Whether it names such a holder, whenever it holds."""
        return (
            self.cluster in (None, cluster)
            and self.node in (None, node)
            and self.gpu in (None, gpu)
            and self.namespace in (None, namespace)
            and self.cost_center in (None, cost_center)
            and self.team in (None, team)
        )
