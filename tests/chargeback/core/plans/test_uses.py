"""What became of guarantees: each hour of a namespace is told of one plan."""

from __future__ import annotations

from chargeback.core.lines import RESERVED
from chargeback.core.money import MS_PER_HOUR
from chargeback.core.plans.book import PlanVersion
from chargeback.core.plans.uses import plan_uses
from chargeback.core.totals import Total

H100 = "NVIDIA H100 80GB HBM3"


def plan(price_key: str) -> PlanVersion:
    return PlanVersion(namespace="alpha", resource="nvidia.com/gpu", guaranteed=1, price_key=price_key)


def reserved(model: str, sku: str) -> Total:
    return Total(
        account="cc-a", team="", cluster="lab", namespace="alpha", kind=RESERVED, sku=sku, model=model,
        unit="gpu-hour", unit_price="3", ms_den=1, gpu_ms_num=MS_PER_HOUR, quantity_ms_num=MS_PER_HOUR, list_micros=3,
        amount_micros=3,
    )  # fmt: skip


def test_a_plan_without_a_price_key_has_what_the_others_of_its_namespace_leave() -> None:
    """Else hours of a keyed plan were counted twice."""
    totals = [reserved(H100, "gpu.h100-80gb-hbm3"), reserved("NVIDIA L4", "gpu.l4"), reserved("NVIDIA L4", "gpu.l4")]
    keyed, keyless = plan_uses("lab", [plan(H100), plan("")], totals)
    assert (keyed.held_hours, keyless.held_hours) == (1, 2)
