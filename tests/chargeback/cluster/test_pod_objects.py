"""Pods, nodes, claims and events as the API writes them, read into values."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest

from chargeback.cluster.dra_objects import ClaimObject, SliceObject, to_claim, to_slice
from chargeback.cluster.event_objects import EventObject, to_refusal
from chargeback.cluster.node_objects import NodeObject, to_node
from chargeback.cluster.pod_objects import PodObject, to_pod
from chargeback.core.claims import ALL_DEVICES, ClaimRequest
from chargeback.core.hours import parse_instant
from chargeback.core.nodes import NodeKeys
from chargeback.core.owners.owners import LabelKeys
from chargeback.core.pods import Ask, GroupPart, OwnerLabels, Pod
from chargeback.core.rating.dimensions import Dimensions

KEYS = LabelKeys()
GPU = "nvidia.com/gpu"


def container(name: str = "main", gpus: int = 0, **more: Any) -> dict[str, Any]:
    resources = {"limits": {GPU: str(gpus), "cpu": "2"}} if gpus else {}
    return {"name": name, "resources": resources, **more}


def pod(
    *containers: dict[str, Any],
    metadata: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    own_labels: frozenset[str] = frozenset(),
    keys: LabelKeys = KEYS,
    **spec: Any,
) -> Pod | None:
    about = {"name": "p", "namespace": "a", "uid": "u-1", "creationTimestamp": "2026-10-03T10:00:00Z"}
    found = {
        "metadata": about | (metadata or {}),
        "spec": {"containers": list(containers or (container(gpus=1),)), "nodeName": "n1"} | spec,
        "status": status or {},
    }
    return to_pod(msgspec.convert(found, PodObject, strict=False), keys, own_labels)


def read(*arguments: Any, **changes: Any) -> Pod:
    found = pod(*arguments, **changes)
    assert found is not None
    return found


def test_a_pod_without_gpus_is_none_of_ours() -> None:
    """Not even one that asks for HAMi's memory or another vendor's card."""
    assert pod(container()) is None
    assert pod({"name": "m", "resources": {"limits": {"nvidia.com/gpumem": "3000", "amd.com/gpu": "1"}}}) is None


def test_a_pod_that_claims_devices() -> None:
    """As the API tells of it, and as a file does."""
    found = read(container(), resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "gpus"}])
    assert (found.uses_claims, found.asks) == (True, ())


def test_a_pod_whose_scheduler_made_a_claim_for_it() -> None:
    """A device class may stand in for any resource name; which it was, the pod's status says at its bind."""
    asking = {"name": "m", "resources": {"limits": {"deviceclass.resource.kubernetes.io/gpu.nvidia.com": "1"}}}
    assert pod(asking) is None
    made = {"resourceClaimName": "p-extended-resources-x", "requestMappings": []}
    found = read(asking, status={"extendedResourceClaimStatus": made})
    assert (found.uses_claims, found.asks) == (True, ())


def test_init_containers_and_sidecars_ask_too() -> None:
    """An init container that is restarted for ever is a sidecar, and runs beside the others."""
    found = read(
        container("app", 1),
        container("web"),
        initContainers=[container("load", 2), container("proxy", 1, restartPolicy="Always")],
    )
    assert found.asks == (
        Ask(container="load", resource=GPU, count=2, init=True),
        Ask(container="proxy", resource=GPU, count=1),
        Ask(container="app", resource=GPU, count=1),
    )


def test_when_a_pod_was_bound() -> None:
    """By its condition; else when the kubelet took it, as a static pod's mirror has it; else when it was made."""
    condition = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-10-03T10:05:00Z"}
    assert read(status={"conditions": [condition]}).bound_ms == parse_instant("2026-10-03T10:05:00Z")
    assert read(status={"startTime": "2026-10-03T10:01:00Z"}).bound_ms == parse_instant("2026-10-03T10:01:00Z")
    assert read().bound_ms == parse_instant("2026-10-03T10:00:00Z")
    waiting = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    found = read(nodeName=None, status={"conditions": [waiting]})
    assert (found.bound_ms, found.waits) == (None, "0/3 nodes are available")


def test_from_when_a_pod_lingers() -> None:
    """The API server writes its deletion's time with the grace in it; quotas wait for the grace once more."""
    deleted = {"deletionTimestamp": "2026-10-03T10:05:30Z", "deletionGracePeriodSeconds": 30}
    found = read(metadata=deleted)
    assert (found.lingers_from_ms, found.terminal) == (parse_instant("2026-10-03T10:06:00Z"), False)
    assert read().lingers_from_ms is None


def test_a_pod_is_over_a_second_after_its_last_container() -> None:
    """finishedAt has whole seconds. One that runs, or is started again, is not over."""

    def ended(name: str, at: str) -> dict[str, Any]:
        return {"name": name, "state": {"terminated": {"exitCode": 0, "finishedAt": at}}}

    statuses = [ended("a", "2026-10-03T10:20:00Z"), ended("b", "2026-10-03T10:30:00Z")]
    found = read(status={"phase": "Succeeded", "containerStatuses": statuses})
    assert (found.terminal, found.finished_ms) == (True, parse_instant("2026-10-03T10:30:01Z"))
    running = read(status={"phase": "Running", "containerStatuses": statuses})
    assert (running.terminal, running.finished_ms) == (False, None)
    evicted = read(status={"phase": "Failed", "reason": "Evicted"})
    assert (evicted.terminal, evicted.finished_ms) == (True, None)


def test_a_pod_that_failed_with_its_node_did_not_end_with_its_init_container() -> None:
    """The cluster calls it Failed; of its containers the last word is that one ended at the start and one runs."""
    fetched = {"name": "fetch", "state": {"terminated": {"exitCode": 0, "finishedAt": "2026-10-03T10:20:00Z"}}}
    runs = {"name": "main", "state": {"running": {"startedAt": "2026-10-03T10:20:02Z"}}}
    lost = read(status={"phase": "Failed", "initContainerStatuses": [fetched], "containerStatuses": [runs]})
    assert (lost.terminal, lost.finished_ms) == (True, None)


def test_a_pod_whose_container_was_lost_did_not_end_with_another() -> None:
    """Of a container that the kubelet could not find any more it says no time; one that waits has not ended."""
    fetched = {"name": "fetch", "state": {"terminated": {"exitCode": 0, "finishedAt": "2026-10-03T10:20:00Z"}}}
    unknown = {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None}
    for state in ({"terminated": unknown}, {"waiting": {"reason": "ContainerCreating"}}):
        statuses = {"initContainerStatuses": [fetched], "containerStatuses": [{"name": "main", "state": state}]}
        lost = read(status={"phase": "Failed", **statuses})
        assert (lost.terminal, lost.finished_ms) == (True, None)


def test_nor_where_an_init_container_was_lost() -> None:
    """It counts as failed, and when it did nobody knows: not with the one before it."""
    fetched = {"name": "fetch", "state": {"terminated": {"exitCode": 0, "finishedAt": "2026-10-03T10:20:00Z"}}}
    lost = {"name": "prepare", "state": {"terminated": {"exitCode": 137, "finishedAt": None}}}
    waits = {"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}}
    found = read(status={"phase": "Failed", "initContainerStatuses": [fetched, lost], "containerStatuses": [waits]})
    assert (found.terminal, found.finished_ms) == (True, None)


def test_a_pod_whose_init_container_failed_ended_with_it() -> None:
    """The others never began: they wait for ever."""
    failed = {"name": "fetch", "state": {"terminated": {"exitCode": 1, "finishedAt": "2026-10-03T10:20:00Z"}}}
    waits = [{"name": name, "state": {"waiting": {"reason": "PodInitializing"}}} for name in ("second", "main")]
    found = read(
        status={"phase": "Failed", "initContainerStatuses": [failed, waits[0]], "containerStatuses": waits[1:]}
    )
    assert found.finished_ms == parse_instant("2026-10-03T10:20:01Z")


HALF = Fraction(1, 2)
GROUP = {"runai-gpu-group": "g"}


@pytest.mark.parametrize(
    ("namespace", "labels", "annotations", "expected"),
    [
        ("a", GROUP, {"gpu-fraction": "0.5"}, GroupPart(groups=("g",), container="main", portion=HALF)),
        ("a", GROUP, {"gpu-memory": "4000"}, GroupPart(groups=("g",), container="main", memory_mib=4000)),
        (
            "a",
            GROUP,
            {"gpu-fraction": "0.3333333333333333"},
            GroupPart(groups=("g",), container="main", portion=Fraction(3333, 10_000)),
        ),
        (
            "a",
            {"runai-gpu-group/x": "x", "runai-gpu-group/y": ""},
            {"gpu-fraction": "0.5", "gpu-fraction-container-name": "side"},
            GroupPart(groups=("x", "y"), container="side", portion=HALF),
        ),
        ("kai-resource-reservation", GROUP, {}, GroupPart(groups=("g",), container="main")),
        ("runai-reservation", GROUP, {"gpu-fraction": "0.5"}, GroupPart(groups=("g",), container="main")),
    ],
)
def test_parts_of_a_card_that_a_scheduler_shares_out(
    namespace: str, labels: dict[str, str], annotations: dict[str, str], expected: GroupPart
) -> None:
    """By portion or by memory, of one card or several; the reservation itself has no part."""
    metadata = {"namespace": namespace, "labels": labels, "annotations": annotations}
    assert read(container(), metadata=metadata).part == expected


def test_a_group_without_a_part_is_no_part() -> None:
    """What cannot be read is not guessed."""
    metadata = {"labels": {"runai-gpu-group": "g"}, "annotations": {"gpu-fraction": "half"}}
    assert pod(container(), metadata=metadata) is None


def test_a_pods_own_labels_count_only_where_they_may() -> None:
    """Each of the three fields by itself; an empty label says nothing."""
    metadata = {"labels": {"cost-center": "cc-9", "team": "", "gpu-tier": "spot"}}
    assert read(metadata=metadata).labels == OwnerLabels()
    allowed = frozenset({"cost_center", "team"})
    assert read(metadata=metadata, own_labels=allowed).labels == OwnerLabels(cost_center="cc-9")


def test_the_labels_of_a_pod_that_are_dimensions() -> None:
    """Whatever of its owner it may say; a label longer than Kubernetes takes is refused."""
    keys = LabelKeys(dimensions=Dimensions(namespace=("env",), pod=("job", "app", "none")))
    metadata = {"labels": {"job": "7", "app": "x", "env": "prod", "team": "red"}}
    assert read(metadata=metadata, keys=keys).labels == OwnerLabels(dimensions=(("app", "x"), ("job", "7")))
    with pytest.raises(msgspec.ValidationError, match=r"metadata.labels"):
        read(metadata={"labels": {"app": "x" * 64}}, keys=keys)


def test_a_node_with_its_gpus_and_since_when_it_is_cordoned() -> None:
    """By the time that the API server keeps of the field's last writer."""
    offered = {GPU: 7, "nvidia.com/mig-1g.10gb": 7, "nvidia.com/gpu.shared": 4}
    found = {
        "metadata": {
            "name": "n1",
            "uid": "u",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [
                {"time": "2026-02-01T00:00:00Z", "fieldsV1": {"f:spec": {"f:taints": {}}}},
                {"time": "2026-03-01T00:00:00Z", "fieldsV1": {"f:spec": {"f:unschedulable": {}}}},
            ],
        },
        "spec": {"unschedulable": True},
        "status": {
            "allocatable": {"cpu": "64", GPU: "7", "nvidia.com/mig-1g.10gb": "7", "nvidia.com/gpu.shared": "4"}
        },
    }
    node = to_node(msgspec.convert(found, NodeObject, strict=False))
    assert node.gpus == offered
    assert (node.cordoned, node.cordoned_ms) == (True, parse_instant("2026-03-01"))
    assert node.driver_work == ""


@pytest.mark.parametrize(
    ("labels", "pool"),
    [
        ({}, ""),
        ({"karpenter.sh/nodepool": "k"}, "k"),
        ({"kubernetes.azure.com/agentpool": "az", "karpenter.sh/nodepool": "k"}, "az"),
        ({"eks.amazonaws.com/nodegroup": "e", "cloud.google.com/gke-nodepool": "g"}, "g"),
    ],
)
def test_the_pool_of_a_node(labels: dict[str, str], pool: str) -> None:
    """By the first label of the clouds' own that is there, or by one that is named."""
    found = msgspec.convert(
        {"metadata": {"name": "n1", "uid": "u", "labels": {"site/pool": "s", **labels}}}, NodeObject
    )
    assert to_node(found).pool == pool
    assert to_node(found, NodeKeys(pool=["site/pool"])).pool == "s"
    assert to_node(found, NodeKeys(pool=["site/none"])).pool == ""


def test_the_labels_of_a_node_that_prices_may_name() -> None:
    """And when one of these was last written, by whoever manages it."""
    meta = {
        "name": "n1",
        "uid": "u",
        "labels": {"zone": "z", "type": "p5", "other": "x"},
        "managedFields": [
            {"time": "2026-02-01T00:00:00Z", "fieldsV1": {"f:metadata": {"f:labels": {"f:type": {}}}}},
            {"time": "2026-03-01T00:00:00Z", "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:zone": {}}}}},
            {"time": "2026-04-01T00:00:00Z", "fieldsV1": {"f:metadata": {"f:labels": {"f:other": {}}}}},
        ],
    }
    found = msgspec.convert({"metadata": meta}, NodeObject, strict=False)
    node = to_node(found, NodeKeys(priced=["zone", "type", "missing"]))
    assert node.labels == (("type", "p5"), ("zone", "z"))
    assert node.labelled_ms == parse_instant("2026-03-01")
    assert to_node(found).labels == ()


@pytest.mark.parametrize("where", ["labels", "annotations"])
def test_a_node_that_announces_driver_work(where: str) -> None:
    meta = {"name": "n1", "uid": "u-1", where: {"nvidia.com/mig.config.state": "pending"}}
    node = to_node(msgspec.convert({"metadata": meta}, NodeObject, strict=False))
    assert node.driver_work == "nvidia.com/mig.config.state=pending"


def test_a_claim_counts_the_worst_case_of_its_requests() -> None:
    """All devices count as Kubernetes counts them; a monitor's access holds nothing."""
    requests = [
        {"name": "one", "exactly": {"deviceClassName": "gpu.nvidia.com", "count": 2}},
        {
            "name": "all",
            "exactly": {"deviceClassName": "mig.nvidia.com", "allocationMode": "All", "adminAccess": True},
        },
        {"name": "any", "firstAvailable": [{"deviceClassName": "a"}, {"deviceClassName": "b", "count": 3}]},
    ]
    results = [{"request": "one", "driver": "gpu.nvidia.com", "pool": "n1", "device": "gpu-0"}]
    found = {
        "metadata": {"name": "c", "namespace": "a", "uid": "u"},
        "spec": {"devices": {"requests": requests}},
        "status": {
            "allocation": {"devices": {"results": results}},
            "reservedFor": [{"resource": "pods", "name": "p", "uid": "p-1"}],
        },
    }
    claim = to_claim(msgspec.convert(found, ClaimObject, strict=False))
    assert claim.requests == (
        ClaimRequest(classes=("gpu.nvidia.com",), count=2),
        ClaimRequest(classes=("mig.nvidia.com",), count=ALL_DEVICES, admin=True),
        ClaimRequest(classes=("a", "b"), count=3),
    )
    assert (claim.pods, claim.devices) == (("p-1",), (("gpu.nvidia.com", "n1", "gpu-0"),))


def test_what_a_driver_offers_on_a_node() -> None:
    """A device that is made only when it is claimed has no UUID yet."""
    devices = [
        {"name": "gpu-0", "attributes": {"type": {"string": "gpu"}, "uuid": {"string": "GPU-1"}}},
        {"name": "gpu-1-mig-1g10gb-19-0", "attributes": {"gpu.nvidia.com/parentUUID": {"string": "GPU-2"}}},
    ]
    spec = {"driver": "gpu.nvidia.com", "nodeName": "n1", "pool": {"name": "n1"}, "devices": devices}
    found = to_slice(
        msgspec.convert({"metadata": {"name": "s", "uid": "u"}, "spec": spec}, SliceObject, strict=False)
    )
    assert [(each.kind, each.uuid, each.parent_uuid) for each in found.devices] == [
        ("gpu", "GPU-1", None),
        (None, None, "GPU-2"),
    ]


def test_an_event_that_a_quota_refused_a_pod() -> None:
    """Old events count in `count`, new ones in `series`; one about anything else is none of ours."""
    message = (
        'pods "train-x" is forbidden: exceeded quota: gpu, requested: requests.nvidia.com/gpu=3, '
        "used: requests.nvidia.com/gpu=6, limited: requests.nvidia.com/gpu=8"
    )
    event: dict[str, Any] = {
        "metadata": {"name": "e", "namespace": "a", "uid": "u"},
        "involvedObject": {"kind": "Job", "namespace": "a", "name": "train"},
        "message": message,
        "firstTimestamp": "2026-10-03T10:00:00Z",
        "lastTimestamp": "2026-10-03T10:10:00Z",
        "count": 4,
    }
    refusal = to_refusal(msgspec.convert(event, EventObject, strict=False))
    assert refusal is not None
    assert (refusal.workload, refusal.count, refusal.keys[0].key) == ("Job train", 4, "requests.nvidia.com/gpu")
    assert (refusal.first_ms, refusal.last_ms) == (
        parse_instant("2026-10-03T10:00:00Z"),
        parse_instant("2026-10-03T10:10:00Z"),
    )
    assert to_refusal(msgspec.convert(event | {"message": "no such image"}, EventObject, strict=False)) is None
