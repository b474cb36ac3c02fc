"""Builders for one node's hour as agents and the API tell it. Times in minutes from the hour's start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from chargeback.core.existence import Existence, KnownGpu, exist
from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import Line, Problem
from chargeback.core.lives import ClusterWord, PodLife, PodSlot
from chargeback.core.metered import Metered
from chargeback.core.node_hour import Gpu, Holding, Instance, Layout, NodeHour, check
from chargeback.core.offers import Offer
from chargeback.core.owners.owners import Owner, OwnerBook
from chargeback.core.pods import Ask
from chargeback.core.policy import Policy, PolicyBook
from chargeback.core.prices.book import GPU_HOUR, Price, PriceBook
from chargeback.core.rating.rating import rate_node_hour
from chargeback.core.reservations import resolve_reservations
from chargeback.core.second_meter import meter
from chargeback.core.spans import Spans

HOUR = 497_010  # of 18 UTC: its middle is midnight in Kolkata
MODEL = "NVIDIA A100-SXM4-80GB"
MEMORY_MIB = 80_000
GPU = "nvidia.com/gpu"
MINUTE_MS = 60_000
SECOND = 1 / 60

OWNERS = OwnerBook(
    [Owner(namespace=name, from_ms=0, cost_center=f"cc-{name}", version=1) for name in ("a", "b", "c")]
)
PRICES = PriceBook([Price(model=MODEL, unit=GPU_HOUR, amount=Fraction(3_600_001))])


def ms(minutes: float) -> int:
    return round(minutes * MINUTE_MS)


def unix(minutes: float) -> int:
    return HOUR * HOUR_MS + ms(minutes)


def spans(*minutes: tuple[float, float]) -> Spans:
    return tuple((ms(start), ms(end)) for start, end in minutes)


def card(
    uuid: str = "GPU-1",
    observed: Sequence[tuple[float, float]] = ((0, 60),),
    *,
    shares: int = 1,
    mig: bool = False,
    **changes: Any,
) -> Gpu:
    seen = spans(*observed)
    layouts = tuple(Layout(start=a, end=b, mig=mig, shares=shares) for a, b in seen)
    values: dict[str, Any] = {"model": MODEL, "memory_mib": MEMORY_MIB, "slices_max": 7, "layouts": layouts}
    return Gpu(uuid=uuid, observed=seen, **(values | changes))


def instance(uuid: str, start: float = 0, end: float = 60, gpu: str = "GPU-1", **changes: Any) -> Instance:
    values: dict[str, Any] = {"profile": "1g.10gb", "gi": 0, "ci": 0, "c": 1, "g": 1, "m": 1}
    return Instance(uuid=uuid, gpu=gpu, start=ms(start), end=ms(end), **(values | changes))


def saw(
    pod: str, start: float, end: float, device: str = "GPU-1", share: int = 0, *, namespace: str = "a", **changes: Any
) -> Holding:
    values: dict[str, Any] = {"container": "main", "shares": (share,), "resource": GPU}
    return Holding(device=device, namespace=namespace, pod=pod, start=ms(start), end=ms(end), **(values | changes))


def life(
    pod: str,
    bound: float,
    ended: float | None = None,
    *,
    alive: float | None = None,
    seen: float | None = None,
    on: Iterable[str] = ("GPU-1",),
    namespace: str = "a",
    uid: str | None = None,
    **changes: Any,
) -> PodLife:
    """A pod that asks for one card. alive: by default up to its end, or for the hour. on: where it was seen."""
    values: dict[str, Any] = {"asks": (Ask(container="main", resource=GPU, count=1),)}
    if seen is not None:
        values["slots"] = tuple(PodSlot(container="main", device=d, shares=(0,), resource=GPU) for d in on)
    return PodLife(
        namespace=namespace,
        pod=pod,
        uid=uid or f"uid-{pod}",
        bound_ms=unix(bound),
        alive_ms=unix(alive if alive is not None else 60 if ended is None else ended),
        ended_ms=None if ended is None else unix(ended),
        seen_ms=None if seen is None else unix(seen),
        **(values | changes),
    )


def known(uuid: str = "GPU-1", last: float = 0, **changes: Any) -> KnownGpu:
    values: dict[str, Any] = {"model": MODEL, "memory_mib": MEMORY_MIB, "slices_max": 7}
    return KnownGpu(uuid=uuid, last_observed_ms=unix(last), **(values | changes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What agents and the API say of one node in one hour, and what the hour before left."""

    gpus: tuple[Gpu, ...] = ()
    instances: tuple[Instance, ...] = ()
    saw: tuple[Holding, ...] = ()
    lives: tuple[PodLife, ...] = ()
    before: tuple[KnownGpu, ...] = ()
    held: tuple[tuple[str, int, str], ...] = ()
    followed: float = 60
    present: Spans | None = None
    cordoned: Spans = ()
    same_price: Callable[[Sequence[Offer], PodLife], bool] = lambda offers, life: True

    def body(self) -> NodeHour | None:
        if not self.gpus:
            return None
        body = NodeHour(
            cluster="lab", node="n1", hour=HOUR, gpus=self.gpus, instances=self.instances, holdings=self.saw
        )
        check(body)
        return body

    def existence(self) -> Existence:
        body = self.body()
        return exist(HOUR, [body] if body else [], body, self.before, present=self.present)

    def metered(self) -> Metered:
        word = ClusterWord(
            lives=self.lives, followed_ms=unix(self.followed), present=self.present, cordoned=self.cordoned
        )
        return meter(HOUR, self.saw, self.existence(), word, self.held, self.same_price)

    def rated(
        self, owners: OwnerBook = OWNERS, prices: PriceBook = PRICES, policy: Policy | None = None
    ) -> tuple[list[Line], list[Problem]]:
        """Lines and problems, put together as the rater does."""
        existence, metered = self.existence(), self.metered()
        memory = {gpu.uuid: gpu.memory_mib for gpu in existence.gpus}
        held, overcommitted = resolve_reservations(HOUR, metered.holdings, self.lives, memory)
        lines, problems = rate_node_hour(
            "lab", "n1", HOUR, held, existence, owners, prices, PolicyBook([policy or Policy()]),
            counted=self.saw, cordoned=self.cordoned,
        )  # fmt: skip
        return lines, [*problems, *metered.problems, *overcommitted]

    def next_hour(self, **changes: Any) -> Told:
        """What this hour leaves, as the next one has it: times of the lives stay as they are."""
        back = 60
        return replace(
            self,
            **{
                "gpus": (), "instances": (), "saw": (),
                "before": tuple(
                    replace(each, last_observed_ms=each.last_observed_ms - ms(back))
                    for each in self.existence().known
                ),
                "held": self.metered().held,
                "lives": tuple(_earlier(each, ms(back)) for each in self.lives),
            }
            | changes,
        )  # fmt: skip


def _earlier(life: PodLife, by_ms: int) -> PodLife:
    return replace(
        life,
        bound_ms=life.bound_ms - by_ms,
        alive_ms=life.alive_ms if life.ended_ms is None else life.alive_ms - by_ms,
        ended_ms=None if life.ended_ms is None else life.ended_ms - by_ms,
        seen_ms=None if life.seen_ms is None else life.seen_ms - by_ms,
    )


def who(metered: Metered) -> list[tuple[str, str, float, float, str]]:
    """Pod, device, from and to in minutes, and whether the API alone says so."""
    return sorted(
        (h.pod, h.device, h.start / MINUTE_MS, h.end / MINUTE_MS, "api" if h.evidence == "api" else "agent")
        for h in metered.holdings
    )


def minutes(metered: Metered) -> dict[str, float]:
    """The differences between the meters."""
    return {kind: found / MINUTE_MS for kind, found in metered.differences.items()}
