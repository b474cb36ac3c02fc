"""From a body on the wire to a checked node-hour: the one place that reads `exporter.wire`."""

from __future__ import annotations

import re

import msgspec

from chargeback.core.hours import parse_hour
from chargeback.core.node_hour import MEMORY_SLICES, Gpu, Holding, Instance, Layout, NodeHour, Refused, check
from exporter import wire

# msgspec ends its messages with the place: "… - at `$.gpus[0].uuid`".
_PLACE = re.compile(r"(?P<problem>.*) - at `\$\.?(?P<field>.*)`$", re.DOTALL)


class Garbled(ValueError):
    """Not JSON at all."""


def read_body(data: bytes) -> NodeHour:
    """Decode and check a body. Raises Garbled, or Refused with the field, what was seen and what is wanted."""
    body = to_node_hour(decode(data))
    check(body)
    return body


def decode(data: bytes) -> wire.NodeHour:
    # Kubernetes has no such names, and PostgreSQL no text with this character in it.
    if b"\\u0000" in data:
        raise Refused("body", r"\u0000 in a text: want names without it")
    try:
        return wire.decode(data)
    except msgspec.ValidationError as error:
        match = _PLACE.match(str(error))
        field, problem = (match["field"], match["problem"]) if match else ("body", str(error))
        raise Refused(field or "body", problem) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Garbled(f"want a JSON node-hour: {error}") from error


def to_node_hour(body: wire.NodeHour) -> NodeHour:
    """The same account in the words of the core. Raises Refused where the hour does not exist."""
    try:
        hour = parse_hour(body.hour)
    except ValueError as error:
        raise Refused("hour", str(error)) from error
    return NodeHour(
        cluster=body.cluster,
        node=body.node,
        hour=hour,
        instance=body.instance,
        started=body.started,
        seq=body.seq,
        through=body.through,
        final=body.final,
        gpus=tuple([_gpu(gpu) for gpu in body.gpus]),
        instances=tuple([_instance(instance) for instance in body.instances]),
        holdings=tuple([_holding(holding) for holding in body.holdings]),
    )


def _gpu(gpu: wire.Gpu) -> Gpu:
    return Gpu(
        uuid=gpu.uuid,
        model=gpu.model,
        memory_mib=gpu.memory_mib,
        slices_max=gpu.slices_max,
        memory_slices=gpu.memory_slices or MEMORY_SLICES,
        observed=tuple(gpu.observed),
        unhealthy=tuple(gpu.unhealthy),
        layouts=tuple([_layout(layout) for layout in gpu.layouts]),
        idle_energy_mj=gpu.idle_energy_mj,
    )


def _layout(layout: wire.Layout) -> Layout:
    return Layout(start=layout.start, end=layout.end, mig=layout.mig, shares=layout.shares)


def _instance(instance: wire.Instance) -> Instance:
    return Instance(
        uuid=instance.uuid,
        gpu=instance.gpu,
        profile=instance.profile,
        start=instance.start,
        end=instance.end,
        gi=instance.gi,
        ci=instance.ci,
        c=instance.c,
        g=instance.g,
        m=instance.m,
        shares=instance.shares,
    )


def _holding(holding: wire.Holding) -> Holding:
    return Holding(
        device=holding.device,
        shares=tuple(holding.shares),
        start=holding.start,
        end=holding.end,
        namespace=holding.namespace,
        pod=holding.pod,
        container=holding.container,
        resource=holding.resource,
        source=holding.source,
        evidence=holding.evidence,
        pod_uid=holding.pod_uid,
        claim=holding.claim,
        busy_ms=holding.busy_ms,
        memory_byte_seconds=holding.memory_byte_seconds,
        memory_peak_bytes=holding.memory_peak_bytes,
        energy_mj=holding.energy_mj,
    )
