"""ResourceSlices and ResourceClaims (resource.k8s.io/v1) as the API writes them."""

from __future__ import annotations

from typing import Any

import msgspec

from chargeback.cluster.objects import Metadata
from chargeback.core.claims import ALL_DEVICES, Claim, ClaimRequest, DeviceSlice, OfferedDevice

DOMAIN = "gpu.nvidia.com/"


class Pool(msgspec.Struct, frozen=True):
    name: str


class Device(msgspec.Struct, frozen=True):
    name: str
    attributes: dict[str, dict[str, Any]] | None = None


class SliceSpec(msgspec.Struct, frozen=True, rename="camel"):
    driver: str
    pool: Pool
    node_name: str | None = None
    devices: list[Device] | None = None


class SliceObject(msgspec.Struct, frozen=True):
    metadata: Metadata
    spec: SliceSpec


class Exactly(msgspec.Struct, frozen=True, rename="camel"):
    device_class_name: str
    allocation_mode: str = "ExactCount"
    count: int = 1
    admin_access: bool | None = None


class Request(msgspec.Struct, frozen=True, rename="camel"):
    exactly: Exactly | None = None
    first_available: list[Exactly] | None = None


class Requests(msgspec.Struct, frozen=True):
    requests: list[Request] | None = None


class ClaimSpec(msgspec.Struct, frozen=True):
    devices: Requests = Requests()


class Consumer(msgspec.Struct, frozen=True):
    uid: str
    resource: str = ""


class Result(msgspec.Struct, frozen=True):
    driver: str
    pool: str
    device: str


class Results(msgspec.Struct, frozen=True):
    results: list[Result] | None = None


class Allocation(msgspec.Struct, frozen=True):
    devices: Results = Results()


class ClaimStatus(msgspec.Struct, frozen=True, rename="camel"):
    allocation: Allocation | None = None
    reserved_for: list[Consumer] | None = None


class ClaimObject(msgspec.Struct, frozen=True):
    metadata: Metadata
    spec: ClaimSpec = ClaimSpec()
    status: ClaimStatus = ClaimStatus()


def to_slice(found: SliceObject) -> DeviceSlice:
    spec = found.spec
    return DeviceSlice(
        name=found.metadata.name,
        driver=spec.driver,
        pool=spec.pool.name,
        node=spec.node_name,
        devices=tuple(_device(device) for device in spec.devices or ()),
    )


def to_claim(found: ClaimObject) -> Claim:
    meta, status = found.metadata, found.status
    results = status.allocation.devices.results if status.allocation else None
    return Claim(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid or "",
        requests=tuple(_request(request) for request in found.spec.devices.requests or ()),
        pods=tuple(consumer.uid for consumer in status.reserved_for or () if consumer.resource == "pods"),
        devices=tuple((result.driver, result.pool, result.device) for result in results or ()),
    )


def _device(found: Device) -> OfferedDevice:
    def text(name: str) -> str | None:
        attributes = found.attributes or {}
        value = (attributes.get(name) or attributes.get(DOMAIN + name) or {}).get("string")
        return value if isinstance(value, str) else None

    return OfferedDevice(
        name=found.name,
        kind=text("type"),
        uuid=text("uuid"),
        parent_uuid=text("parentUUID"),
        product=text("productName"),
    )


def _request(found: Request) -> ClaimRequest:
    """Of several classes a quota counts the worst case of each."""
    asked = [found.exactly] if found.exactly else found.first_available or []
    counts = [ALL_DEVICES if each.allocation_mode == "All" else each.count for each in asked]
    return ClaimRequest(
        classes=tuple(each.device_class_name for each in asked),
        count=max(counts, default=0),
        admin=any(each.admin_access for each in asked),
    )
