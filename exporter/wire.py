"""The node-hour: the one contract between agent and aggregator, and the one module both import.

A node-hour is the complete account of one node in one UTC hour so far: state, not a delta. Times are whole
milliseconds from the start of the hour, intervals half-open; a device is a UUID *and* an interval, for UUIDs
are reused. Slices travel, never fractions. Absent means "cannot say". No I/O and no rules here: what a body
must satisfy beyond its types is `chargeback/core/node_hour.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

HOUR_MS = 3_600_000

# Bounds: a body must fit the aggregator's request limit, and a hostile one must not grow past reason.
Ms = Annotated[int, Meta(ge=0, le=HOUR_MS)]
Whole = Annotated[int, Meta(ge=0, le=2**53)]
Name = Annotated[str, Meta(min_length=1, max_length=253)]
Text = Annotated[str, Meta(max_length=512)]
Uuid = Annotated[str, Meta(min_length=1, max_length=128)]
Slices = Annotated[int, Meta(ge=1, le=64)]
Shares = Annotated[int, Meta(ge=1, le=1024)]
Interval = tuple[Ms, Ms]
Intervals = Annotated[list[Interval], Meta(max_length=4096)]

Source = Literal["device-plugin", "dra", "kubelet"]
Evidence = Literal["exclusive", "mig", "sm", "memory", "equal", "kubelet", "none"]


class Struct(msgspec.Struct, frozen=True, omit_defaults=True):
    """Unknown fields are ignored, so that an older aggregator accepts a newer agent of the same version."""


class Layout(Struct, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """The card between two instants. shares: of the whole card when it is not in MIG mode."""

    start: Ms
    end: Ms
    mig: bool
    shares: Shares = 1


class Gpu(Struct, frozen=True, kw_only=True, rename={"slices_max": "C", "memory_slices": "M"}):
    """A card that NVML has shown.

    observed        the kubelet answered and the card's layout was known
    energy_mj       in the part of the observed time in which it was known, absent if that was never: that of the
                    card's holdings and idle_energy_mj, to the millijoule
    idle_energy_mj  of what nobody held
    """

    uuid: Uuid
    model: Name
    memory_mib: Annotated[int, Meta(ge=1, le=2**32)]
    slices_max: Slices | None = None
    memory_slices: Slices | None = None
    observed: Intervals
    unhealthy: Intervals = []
    energy_mj: Whole | None = None
    idle_energy_mj: Whole | None = None
    xids: Annotated[dict[str, Whole], Meta(max_length=256)] = {}
    layouts: Annotated[list[Layout], Meta(max_length=4096)] = []


class Instance(Struct, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """A MIG device. c: compute slices of it; g, m: compute and memory slices of its GPU instance."""

    uuid: Uuid
    gpu: Uuid
    profile: Name
    start: Ms
    end: Ms
    gi: Annotated[int, Meta(ge=0, le=1024)]
    ci: Annotated[int, Meta(ge=0, le=1024)]
    c: Slices
    g: Slices
    m: Slices
    shares: Shares = 1


class Holding(Struct, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """One unbroken interval of one holder on some shares of one device.

    namespace, pod, container are all empty where the slot is held but its holder cannot be named.
    busy_ms, memory_byte_seconds, memory_peak_bytes, energy_mj: of the whole record, absent if unknown.
    """

    device: Uuid
    shares: Annotated[list[Annotated[int, Meta(ge=0, le=1023)]], Meta(min_length=1, max_length=1024)]
    start: Ms
    end: Ms
    namespace: Text
    pod: Text
    container: Text
    resource: Text
    source: Source
    evidence: Evidence
    pod_uid: Text | None = None
    claim: Text | None = None
    busy_ms: Whole | None = None
    memory_byte_seconds: Whole | None = None
    memory_peak_bytes: Whole | None = None
    energy_mj: Whole | None = None


class UnallocatedUse(Struct, frozen=True, kw_only=True):
    """Use of a device by a process whose pod does not hold it: reported, never billed."""

    device: Uuid
    namespace: Text | None = None
    pod: Text | None = None
    container: Text | None = None
    runtime: Text | None = None
    busy_ms: Whole | None = None
    memory_byte_seconds: Whole | None = None


class NodeHour(Struct, frozen=True, kw_only=True):
    """hour: `2026-10-03T14Z`. started: unix ms of the instance. through: accounted up to here. seq: from 1."""

    v: Literal[1]
    cluster: Name
    node: Name
    instance: Name
    started: Whole
    seq: Whole
    hour: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}Z$")]
    through: Ms
    final: bool
    gpus: Annotated[list[Gpu], Meta(max_length=256)] = []
    instances: Annotated[list[Instance], Meta(max_length=65536)] = []
    holdings: Annotated[list[Holding], Meta(max_length=65536)] = []
    unallocated_use: Annotated[list[UnallocatedUse], Meta(max_length=4096)] = []


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(NodeHour)


def encode(body: NodeHour) -> bytes:
    """The JSON of a node-hour; equal values give equal bytes."""
    return _encoder.encode(body)


def decode(data: bytes) -> NodeHour:
    """Decode and check types and bounds. Raises msgspec.DecodeError; a ValidationError names the field."""
    return _decoder.decode(data)
