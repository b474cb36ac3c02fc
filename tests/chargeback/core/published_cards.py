"""Cards and holders of the published cases: hours rated by the pure functions, with nothing in between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from chargeback.core.existence import exist
from chargeback.core.hours import HOUR_MS, parse_hour
from chargeback.core.lines import Line
from chargeback.core.node_hour import Gpu, Holding, Instance, Layout, NodeHour
from chargeback.core.owners.owners import Owner, OwnerBook
from chargeback.core.policy import Policy, PolicyBook
from chargeback.core.prices.book import GPU_HOUR, Price, PriceBook, TierFactor
from chargeback.core.rating.rating import rate_node_hour

MODEL = "NVIDIA A100-SXM4-80GB"
MICROS = 1_000_000
HOUR = parse_hour("2026-02-03T10Z")
OWNERS = tuple(Owner(namespace=name, from_ms=0, cost_center=f"cc-{name}", version=1) for name in "abc")


def card(uuid: str = "GPU-1", *, model: str = MODEL, shares: int = 1, mig: bool = False, until: int = HOUR_MS) -> Gpu:
    """Observed from the hour's start."""
    layouts = (Layout(start=0, end=until, mig=mig, shares=shares),)
    return Gpu(
        uuid=uuid, model=model, memory_mib=81_920, slices_max=7, observed=((0, until),), layouts=layouts,
    )  # fmt: skip


def slice_of(compute: int, number: int = 0, gpu: str = "GPU-1") -> Instance:
    """A MIG instance of so many of seven compute slices, for the whole hour; memory slices as NVIDIA has them."""
    memory = {1: 1, 2: 2, 3: 4, 4: 4, 7: 8}[compute]
    return Instance(
        uuid=f"MIG-{gpu}-{number}", gpu=gpu, profile=f"{compute}g.{memory}0gb", start=0, end=HOUR_MS, gi=number, ci=0,
        c=compute, g=compute, m=memory,
    )  # fmt: skip


def held(
    device: str = "GPU-1",
    namespace: str = "a",
    start: int = 0,
    end: int = HOUR_MS,
    *,
    share: int = 0,
    busy_ms: int | None = None,
    pod: str = "",
) -> Holding:
    return Holding(
        device=device, shares=(share,), start=start, end=end, namespace=namespace, pod=pod or f"{namespace}-{share}",
        container="main", busy_ms=busy_ms,
    )  # fmt: skip


def book(price: str = "1", *more: Price, factors: Sequence[TierFactor] = (), timezone: str = "UTC") -> PriceBook:
    """price: of an hour of an A100."""
    own = Price(model=MODEL, unit=GPU_HOUR, amount=Fraction(price) * MICROS)
    return PriceBook([own, *more], factors, timezone=timezone)


def rate(
    gpus: Iterable[Gpu],
    holdings: Iterable[Holding] = (),
    *,
    instances: Iterable[Instance] = (),
    prices: PriceBook | None = None,
    owners: Sequence[Owner] = OWNERS,
    policy: Policy | None = None,
    hour: int = HOUR,
    cluster: str = "lab",
) -> list[Line]:
    """The lines of one node-hour, as the ledger gets them."""
    body = NodeHour(
        cluster=cluster, node="n1", hour=hour, gpus=tuple(gpus), instances=tuple(instances), holdings=tuple(holdings),
    )  # fmt: skip
    lines, _ = rate_node_hour(
        cluster, "n1", hour, body.holdings, exist(hour, [body], body, []), OwnerBook(owners), prices or book(),
        PolicyBook([policy or Policy()]),
    )  # fmt: skip
    return lines


def by_account(lines: Iterable[Line]) -> dict[str, int]:
    """Micros billed to each; what has no price is not in it."""
    sums: dict[str, int] = {}
    for line in lines:
        if line.amount_micros is not None:
            sums[line.account] = sums.get(line.account, 0) + line.amount_micros
    return sums


def gpu_hours(lines: Iterable[Line]) -> Fraction:
    return sum((Fraction(line.gpu_ms_num, line.ms_den) for line in lines), Fraction(0)) / HOUR_MS
