"""Pods as the API writes them, decoded into the few fields that metering and quotas ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from fractions import Fraction
from typing import Any

import msgspec

from chargeback.cluster.objects import Label, Name, unix_ms
from chargeback.core.owners.owners import LabelKeys
from chargeback.core.pods import RESERVATION_NAMESPACES, Ask, GroupPart, OwnerLabels, Pod
from chargeback.core.quota.specs import amount, is_gpu
from chargeback.core.rating.dimensions import labels_of

# How KAI-Scheduler and Run:ai say which part of a card a pod has.
GROUP_LABEL = "runai-gpu-group"
PORTION, MEMORY_MIB, CONTAINER = "gpu-fraction", "gpu-memory", "gpu-fraction-container-name"
# Of a finer portion the rest is left out: time in such parts of a card must fit the ledger's 64 bits.
PORTION_PARTS = 10_000
_PORTION = re.compile(r"[0-9]{0,3}\.[0-9]{1,40}|[0-9]{1,3}")
# finishedAt has whole seconds: the container may have run until the next.
RESOLUTION_MS = 1000


class PodMetadata(msgspec.Struct, frozen=True, rename="camel"):
    name: Name
    namespace: Name
    uid: str
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    deletion_grace_period_seconds: int = 0
    labels: dict[str, Label] | None = None
    annotations: dict[str, str] | None = None


class Resources(msgspec.Struct, frozen=True):
    requests: dict[str, str] | None = None
    limits: dict[str, str] | None = None


class Container(msgspec.Struct, frozen=True, rename="camel"):
    name: Name
    resources: Resources | None = None
    restart_policy: str | None = None


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    containers: list[Container]
    node_name: str | None = None
    init_containers: list[Container] | None = None
    priority_class_name: str | None = None
    active_deadline_seconds: int | None = None
    resource_claims: list[dict[str, Any]] | None = None


class Terminated(msgspec.Struct, frozen=True, rename="camel"):
    exit_code: int = 0
    finished_at: datetime | None = None


class State(msgspec.Struct, frozen=True):
    running: dict[str, Any] | None = None
    terminated: Terminated | None = None


class ContainerStatus(msgspec.Struct, frozen=True):
    state: State | None = None


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    type: str
    status: str
    last_transition_time: datetime | None = None
    message: str = ""


class PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = ""
    conditions: list[Condition] | None = None
    start_time: datetime | None = None
    qos_class: str = ""
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None
    extended_resource_claim_status: dict[str, Any] | None = None


class PodObject(msgspec.Struct, frozen=True):
    metadata: PodMetadata
    spec: PodSpec
    status: PodStatus = PodStatus()


def to_pod(found: PodObject, keys: LabelKeys, own_labels: frozenset[str] = frozenset()) -> Pod | None:
    """A pod that uses GPUs; None for any other. own_labels: the owner's fields that a pod's labels may say."""
    meta, spec, status = found.metadata, found.spec, found.status
    asks = tuple(_asks(spec))
    part = _part(found)
    # The scheduler makes a claim for a resource that a device class stands in for, whatever its name.
    uses_claims = bool(spec.resource_claims) or status.extended_resource_claim_status is not None
    if not asks and part is None and not uses_claims:
        return None
    created_ms = unix_ms(meta.creation_timestamp) or 0
    terminal = status.phase in ("Succeeded", "Failed")
    labels = meta.labels or {}
    said: dict[str, Any] = {field: value for field, value in keys.read(labels).items() if field in own_labels}
    return Pod(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        node=spec.node_name or None,
        created_ms=created_ms,
        bound_ms=_bound_ms(found, created_ms) if spec.node_name else None,
        terminal=terminal,
        finished_ms=_finished_ms(status) if terminal else None,
        asks=asks,
        uses_claims=uses_claims,
        part=part,
        priority_class=spec.priority_class_name or None,
        has_deadline=spec.active_deadline_seconds is not None,
        best_effort=status.qos_class == "BestEffort",
        waits=_waits(status),
        lingers_from_ms=_lingers_from_ms(meta),
        labels=OwnerLabels(**said, dimensions=labels_of(keys.dimensions.pod, labels)),
    )


def _asks(spec: PodSpec) -> Iterator[Ask]:
    """A sidecar is an init container that is restarted: it runs beside the others."""
    for container in (*(spec.init_containers or ()), *spec.containers):
        init = container not in spec.containers and container.restart_policy != "Always"
        resources = container.resources or Resources()
        # Of GPUs Kubernetes wants requests and limits to be equal, and fills in the one that is not said.
        for resource, text in ((resources.limits or {}) | (resources.requests or {})).items():
            count = amount(text) if is_gpu(resource) else None
            if count:
                yield Ask(container=container.name, resource=resource, count=int(count), init=init)


def _part(found: PodObject) -> GroupPart | None:
    meta = found.metadata
    groups = tuple(sorted(_groups(meta.labels or {})))
    if not groups:
        return None
    annotations = meta.annotations or {}
    container = annotations.get(CONTAINER) or found.spec.containers[0].name
    if meta.namespace in RESERVATION_NAMESPACES:
        return GroupPart(groups=groups, container=container)
    if portion := _portion(annotations.get(PORTION, "")):
        return GroupPart(groups=groups, container=container, portion=portion)
    memory = amount(annotations.get(MEMORY_MIB, ""))
    return GroupPart(groups=groups, container=container, memory_mib=int(memory)) if memory else None


def _portion(text: str) -> Fraction:
    """Of a card; zero where it says nothing. Who divides writes more digits than there is a use for."""
    return Fraction(int(Fraction(text) * PORTION_PARTS), PORTION_PARTS) if _PORTION.fullmatch(text) else Fraction(0)


def _groups(labels: Mapping[str, str]) -> Iterator[str]:
    """One label for one card; several cards have one each, with the group behind a slash."""
    for key, value in labels.items():
        if key == GROUP_LABEL or key.startswith(GROUP_LABEL + "/"):
            yield value or key.removeprefix(GROUP_LABEL + "/")


def _bound_ms(found: PodObject, created_ms: int) -> int:
    """When it was given its node: else when the kubelet took it, else when it was made (a static pod's mirror)."""
    for condition in found.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "True" and condition.last_transition_time:
            return unix_ms(condition.last_transition_time) or created_ms
    return unix_ms(found.status.start_time) or created_ms


def _finished_ms(status: PodStatus) -> int | None:
    """None where a container has no end that the kubelet knows.

    Of a pod whose node was lost the last word on its containers stays: one may still run by it, or wait. Of a
    container that the kubelet could not find any more it says that it ended, and no time. One that waits because an
    init container failed never began.
    """
    init = [each.state or State() for each in status.init_container_statuses or ()]
    states = [*init, *(each.state or State() for each in status.container_statuses or ())]
    init_failed = any(state.terminated and state.terminated.exit_code for state in init)
    times: list[int] = []
    for state in states:
        if state.terminated is not None and (at := unix_ms(state.terminated.finished_at)):
            times.append(at)
        elif state.terminated is not None or state.running is not None or not init_failed:
            return None
    return max(times) + RESOLUTION_MS if times else None


def _lingers_from_ms(meta: PodMetadata) -> int | None:
    """From when quotas no longer count a pod that is being deleted: the time of that has its grace in it already."""
    deleted_ms = unix_ms(meta.deletion_timestamp)
    return None if deleted_ms is None else deleted_ms + meta.deletion_grace_period_seconds * 1000


def _waits(status: PodStatus) -> str | None:
    for condition in status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return condition.message or "not scheduled"
    return None
