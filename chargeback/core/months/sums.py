"""A month's lines, summed as its checks and its sharing of idle need them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from chargeback.core.lines import CHARGE, GAP_KIND, HOLDERS, IDLE, UNOWNED
from chargeback.core.months.idle_sharing import Held

Key = TypeVar("Key")

PLATFORM = "platform:"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSum:
    """Lines that agree in all but time and money. is_api: only the cluster's API knew that they were held.

    gpu_ms: whole-card time; unit_ms: time in the unit of the price; amounts: None where the time has no price.
    """

    cluster: str
    node: str
    account: str
    kind: str
    model: str
    namespace: str
    part: str
    is_api: bool
    lines: int
    gpu_ms: Fraction
    unit_ms: Fraction
    list_micros: int | None
    amount_micros: int | None

    @property
    def is_charge(self) -> bool:
        """Not an adjustment of an earlier month."""
        return self.part == CHARGE

    @property
    def is_cost_center(self) -> bool:
        return not self.account.startswith(PLATFORM) and self.account != UNOWNED


@dataclass(slots=True)
class Sum:
    """Of some sums. gpu_ms, unit_ms: see LineSum; what has no price adds no money."""

    gpu_ms: Fraction = Fraction(0)
    unit_ms: Fraction = Fraction(0)
    list_micros: int = 0
    amount_micros: int = 0

    def add(self, each: LineSum) -> None:
        self.gpu_ms += each.gpu_ms
        self.unit_ms += each.unit_ms
        self.list_micros += each.list_micros or 0
        self.amount_micros += each.amount_micros or 0


def by(sums: Iterable[LineSum], key: Callable[[LineSum], Key]) -> dict[Key, Sum]:
    """Sums of sums, in the order in which their keys are met."""
    found: dict[Key, Sum] = {}
    for each in sums:
        found.setdefault(key(each), Sum()).add(each)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How a node's (node "": a cluster's) card time is known, in ms of whole cards. api: only the API knew of it."""

    cluster: str
    node: str
    observed_ms: Fraction
    api_ms: Fraction
    gap_ms: Fraction

    @property
    def whole_ms(self) -> Fraction:
        return self.observed_ms + self.api_ms + self.gap_ms

    @property
    def covered(self) -> Fraction:
        """The part of it that somebody vouches for: 1 where there is no card at all."""
        return 1 - self.gap_ms / self.whole_ms if self.whole_ms else Fraction(1)


def coverage(sums: Iterable[LineSum]) -> list[Coverage]:
    """Of every cluster, followed by its nodes, those with the longest gaps first."""
    nodes: dict[tuple[str, str], list[Fraction]] = {}
    for each in sums:
        if each.is_charge and each.gpu_ms:
            parts = nodes.setdefault((each.cluster, each.node), [Fraction(0)] * 3)
            parts[2 if each.kind == GAP_KIND else 1 if each.is_api else 0] += each.gpu_ms
    found: list[Coverage] = []
    for cluster in sorted({cluster for cluster, _ in nodes}, key=str.encode):
        of = [_coverage(cluster, node, parts) for (here, node), parts in nodes.items() if here == cluster]
        whole = [sum(column, Fraction(0)) for column in zip(*(_parts(each) for each in of), strict=True)]
        found.append(_coverage(cluster, "", whole))
        found += sorted(of, key=lambda each: (-each.gap_ms, each.node.encode()))
    return found


def _coverage(cluster: str, node: str, parts: list[Fraction]) -> Coverage:
    return Coverage(cluster=cluster, node=node, observed_ms=parts[0], api_ms=parts[1], gap_ms=parts[2])


def _parts(each: Coverage) -> tuple[Fraction, Fraction, Fraction]:
    return each.observed_ms, each.api_ms, each.gap_ms


def net_idle(sums: Iterable[LineSum]) -> dict[tuple[str, str], int]:
    """The net amount of `platform:idle` by cluster and model, bytewise; corrections of earlier months are in it."""
    found = by((each for each in sums if each.account == IDLE), lambda each: (each.cluster, each.model))
    return {
        key: found[key].amount_micros for key in sorted(found, key=lambda key: (key[0].encode(), key[1].encode()))
    }


def held_there(sums: Iterable[LineSum], cluster: str, model: str) -> list[Held]:
    """What each cost center held of a model in a cluster, in this month itself."""
    own = (
        each
        for each in sums
        if each.is_charge
        and each.is_cost_center
        and each.kind in HOLDERS
        and (each.cluster, each.model) == (cluster, model)
    )
    return [
        Held(cost_center=account, gpu_ms=found.gpu_ms, list_micros=Fraction(found.list_micros))
        for account, found in by(own, lambda each: each.account).items()
    ]
