"""The body of a node's hour, as it is pushed: an account's records and sums, rounded down here and nowhere before."""

from __future__ import annotations

from typing import Literal, cast

from exporter import wire
from exporter.account import Account, CardAccount, HoldingSpan, InstanceSpan, UseSum
from exporter.sight import PPM

Evidence = Literal["exclusive", "mig", "sm", "memory", "equal", "kubelet", "none"]


def node_hour(
    account: Account, *, cluster: str, node: str, instance: str, started_ms: int, seq: int, hour: str, final: bool
) -> wire.NodeHour:
    """The account so far as a body."""
    return wire.NodeHour(
        v=1,
        cluster=cluster,
        node=node,
        instance=instance,
        started=started_ms,
        seq=seq,
        hour=hour,
        through=account.through,
        final=final,
        gpus=[_wire_gpu(each) for each in account.cards.values()],
        instances=[_wire_instance(each) for each in account.instances],
        holdings=[_wire_holding(each) for each in account.holdings],
        unallocated_use=[_wire_use(each) for each in account.uses],
    )


def _wire_gpu(found: CardAccount) -> wire.Gpu:
    card = found.card
    return wire.Gpu(
        uuid=card.uuid,
        model=card.model,
        memory_mib=card.memory_mib,
        slices_max=card.slices_max,
        memory_slices=card.memory_slices,
        observed=[(span.start, span.end) for span in found.observed],
        unhealthy=[(span.start, span.end) for span in found.unhealthy],
        layouts=[wire.Layout(start=s.start, end=s.end, mig=s.mig, shares=s.shares) for s in found.layouts],
        energy_mj=found.energy_mj,
        idle_energy_mj=found.idle_energy_mj,
        xids=dict(found.xids),
    )


def _wire_instance(span: InstanceSpan) -> wire.Instance:
    seen = span.instance
    return wire.Instance(
        uuid=seen.uuid,
        gpu=span.gpu,
        profile=seen.profile,
        start=span.start,
        end=span.end,
        gi=seen.gi,
        ci=seen.ci,
        c=seen.c,
        g=seen.g,
        m=seen.m,
        shares=seen.shares,
    )


def _wire_holding(span: HoldingSpan) -> wire.Holding:
    holder = span.holder
    return wire.Holding(
        device=span.device,
        shares=list(span.shares),
        start=span.start,
        end=span.end,
        namespace=holder.namespace,
        pod=holder.pod,
        container=holder.container,
        resource=holder.resource,
        source=holder.source,
        evidence=cast(Evidence, span.evidence),
        pod_uid=span.pod_uid,
        claim=holder.claim,
        busy_ms=_floor(span.busy_ppm_ms, PPM),
        memory_byte_seconds=_floor(span.memory_byte_ms, 1000),
        memory_peak_bytes=span.memory_peak_bytes,
        energy_mj=span.energy_mj,
    )


def _wire_use(total: UseSum) -> wire.UnallocatedUse:
    return wire.UnallocatedUse(
        device=total.use.device,
        container=total.use.container,
        runtime=total.use.runtime,
        busy_ms=_floor(total.busy_ppm_ms, PPM),
        memory_byte_seconds=_floor(total.memory_byte_ms, 1000),
    )


def _floor(total: int | None, divisor: int) -> int | None:
    return None if total is None else total // divisor
