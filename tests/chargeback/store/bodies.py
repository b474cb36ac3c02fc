"""Builders of valid bodies, as agents send them: a test names only what it is about."""

from __future__ import annotations

from typing import Any

from chargeback.bodies import read_body
from chargeback.core.hours import HOUR_MS, format_hour, parse_hour
from chargeback.store.database import Database
from chargeback.store.node_hours import NodeHourKey, put_body
from exporter import wire

CLUSTER = "lab"
HOUR = parse_hour("2026-10-03T10Z")
MINUTE_MS = 60_000
GRACE_MS = 10 * MINUTE_MS

H100, A100 = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB"

PRICES = f"""
currency: USD
prices:
  - {{model: {H100}, price: "3", unit: gpu-hour}}
  - {{model: {A100}, price: "2.1", unit: gpu-hour}}
tiers:
  - {{tier: best-effort, factor: "0.5"}}
"""


def start_ms(hour: int) -> int:
    return hour * HOUR_MS


def gpu(uuid: str = "GPU-1", **changes: Any) -> wire.Gpu:
    fields: dict[str, Any] = {"model": H100, "memory_mib": 81559, "observed": [(0, HOUR_MS)]}
    return wire.Gpu(uuid=uuid, **(fields | changes))


def mig_gpu(uuid: str = "GPU-M", until: int = HOUR_MS) -> wire.Gpu:
    """A card of seven slices, in MIG mode."""
    layouts = [wire.Layout(start=0, end=until, mig=True)]
    return gpu(uuid, model=A100, memory_mib=81920, slices_max=7, observed=[(0, until)], layouts=layouts)


def instance(uuid: str = "MIG-1", **changes: Any) -> wire.Instance:
    fields: dict[str, Any] = {"gpu": "GPU-M", "profile": "1g.10gb", "start": 0, "end": HOUR_MS}
    slices: dict[str, Any] = {"gi": 1, "ci": 0, "c": 1, "g": 1, "m": 1}
    return wire.Instance(uuid=uuid, **(fields | slices | changes))


def holding(device: str = "GPU-1", **changes: Any) -> wire.Holding:
    fields: dict[str, Any] = {"shares": [0], "start": 0, "end": HOUR_MS, "resource": "nvidia.com/gpu"}
    holder: dict[str, Any] = {"namespace": "alpha", "pod": "train", "container": "main"}
    how: dict[str, Any] = {"source": "device-plugin", "evidence": "exclusive"}
    return wire.Holding(device=device, **(fields | holder | how | changes))


def body(node: str = "n1", hour: int = HOUR, **changes: Any) -> wire.NodeHour:
    """One card for the whole hour, held by nobody, unless something else is said."""
    fields: dict[str, Any] = {
        "cluster": CLUSTER,
        "instance": "agent-a",
        "started": start_ms(hour) - 5 * HOUR_MS,
        "seq": 1,
        "through": HOUR_MS,
        "final": True,
        "gpus": [gpu()],
    }
    return wire.NodeHour(v=1, node=node, hour=format_hour(hour), **(fields | changes))


def key_of(sent: wire.NodeHour) -> NodeHourKey:
    return NodeHourKey(cluster=sent.cluster, node=sent.node, hour=parse_hour(sent.hour))


def put(database: Database, sent: wire.NodeHour, now_ms: int | None = None) -> bool:
    """Store a body as the API does; by default just after its hour."""
    data = wire.encode(sent)
    at_ms = start_ms(parse_hour(sent.hour) + 1) if now_ms is None else now_ms
    with database.write() as connection:
        return put_body(connection, read_body(data), data, now_ms=at_ms, grace_ms=GRACE_MS)
