"""The slots of a node in one hour: what a pod could hold on it, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chargeback.core.existence import Existence
from chargeback.core.node_hour import Gpu, Instance
from chargeback.core.spans import Span, Spans, intersect, subtract, union

_MIG = "nvidia.com/mig-"
# How the device plugin may rename what it offers in shares.
RENAMED = ".shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One slot. Spans: ms from the hour's start.

    present   when it was there; unobserved time keeps what was known before it
    observed  when its card was
    whole     a card, or a share of one, and not of a MIG instance
    shares    how many its device has, at the most
    """

    device: str
    share: int
    model: str
    profile: str | None
    present: Spans
    observed: Spans
    whole: bool
    shares: int
    alone: bool = False

    @property
    def slot(self) -> tuple[str, int]:
        return (self.device, self.share)

    def gives(self, resource: str) -> bool:
        """Whether a pod that asks for a resource could get this slot.

        MIG instances go by their profile; where a node has nothing else, they go by the plain name as well.
        """
        if resource.startswith(_MIG):
            profile = resource.removeprefix(_MIG).removesuffix(RENAMED)
            return self.profile is not None and _name(self.profile) == profile
        return self.whole or self.alone


def offers(existence: Existence, until: int) -> list[Offer]:
    """All slots of the node's cards, in the order in which a pod nobody saw takes them."""
    found: list[Offer] = []
    has_whole = any(not gpu.layouts or not all(layout.mig for layout in gpu.layouts) for gpu in existence.gpus)
    for gpu in existence.gpus:
        lives = existence.spans[gpu.uuid]
        observed = intersect(union(gpu.observed), lives)
        unobserved = subtract(intersect(lives, ((0, until),)), observed)
        found += _whole(gpu, lives, observed, unobserved)
        instances = [i for i in existence.instances if i.gpu == gpu.uuid]
        for uuid in sorted({i.uuid for i in instances}):
            records = [i for i in instances if i.uuid == uuid]
            found += _instance(gpu, records, lives, observed, unobserved, alone=not has_whole)
    return found


def _whole(gpu: Gpu, lives: Spans, observed: Spans, unobserved: Spans) -> Iterator[Offer]:
    """The card's shares while it is not in MIG mode; where no layout is told it is one."""
    told = union((layout.start, layout.end) for layout in gpu.layouts)
    plain = subtract(observed, told)
    layouts = [layout for layout in gpu.layouts if not layout.mig]
    shares = max((layout.shares for layout in layouts), default=1)
    for share in range(shares):
        there = union((layout.start, layout.end) for layout in layouts if share < layout.shares)
        if share == 0:
            there = union(there + plain)
        if there:
            yield Offer(
                device=gpu.uuid,
                share=share,
                model=gpu.model,
                profile=None,
                present=intersect(_kept(there, unobserved), lives),
                observed=observed,
                whole=True,
                shares=shares,
            )


def _instance(
    gpu: Gpu, records: list[Instance], lives: Spans, observed: Spans, unobserved: Spans, *, alone: bool
) -> Iterator[Offer]:
    shares = max(record.shares for record in records)
    for share in range(shares):
        there = union((record.start, record.end) for record in records if share < record.shares)
        yield Offer(
            device=records[0].uuid,
            share=share,
            model=gpu.model,
            profile=records[0].profile,
            present=intersect(_kept(there, unobserved), lives),
            observed=observed,
            whole=False,
            shares=shares,
            alone=alone,
        )


def _kept(there: Spans, unobserved: Spans) -> Spans:
    """With the unobserved time after it; what is there before the first observation, the hour before has left."""
    kept: list[Span] = list(there)
    for start, end in unobserved:
        if any(a <= start <= b for a, b in there):
            kept.append((start, end))
    return union(kept)


def _name(profile: str) -> str:
    """As resource names write it: `1g.10gb+me` is `1g.10gb.me`."""
    return profile.replace("+", ".")
