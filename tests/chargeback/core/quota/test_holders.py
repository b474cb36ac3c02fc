"""Who holds what a quota counts."""

from __future__ import annotations

from typing import Any

import pytest

from chargeback.core.pods import Ask, Pod
from chargeback.core.quota.holders import Holder, HolderPod, devices_of, holders, is_made_by, takes, workload_of
from chargeback.core.quota.specs import QuotaSpec, ScopeTerm

GPU = "nvidia.com/gpu"


def pod(name: str = "train-0", gpus: int = 1, **fields: Any) -> Pod:
    asks = (Ask(container="main", resource=GPU, count=gpus),) if gpus else ()
    return Pod(**{"namespace": "team", "name": name, "uid": name, "node": "n1", "asks": asks} | fields)


def scoped(*scopes: str, operator: str = "In", values: tuple[str, ...] = ()) -> QuotaSpec:
    terms = (ScopeTerm(scope="PriorityClass", operator=operator, values=values),) if values else ()
    return QuotaSpec(namespace="team", name="gpu", scopes=scopes, terms=terms)


@pytest.mark.parametrize(
    ("quota", "yes", "no"),
    [
        (scoped(values=("high",)), pod(priority_class="high"), pod()),
        (scoped(operator="NotIn", values=("high",)), pod(), pod(priority_class="high")),
        (scoped("PriorityClass"), pod(priority_class="low"), pod()),
        (scoped("Terminating"), pod(has_deadline=True), pod()),
        (scoped("NotTerminating"), pod(), pod(has_deadline=True)),
        (scoped("BestEffort"), pod(best_effort=True), pod()),
        (scoped("NotBestEffort"), pod(), pod(best_effort=True)),
        (
            scoped("Terminating", values=("high",)),
            pod(priority_class="high", has_deadline=True),
            pod(has_deadline=True),
        ),
        (scoped(), pod(node=None), pod(terminal=True)),
    ],
)
def test_scopes(quota: QuotaSpec, yes: Pod, no: Pod) -> None:
    """A pod must match all of them, and must not be over; one that waits counts."""
    assert (takes(quota, yes), takes(quota, no)) == (True, False)


def test_without_a_class() -> None:
    """DoesNotExist takes pods that name none."""
    quota = QuotaSpec(
        namespace="team", name="gpu", terms=(ScopeTerm(scope="PriorityClass", operator="DoesNotExist"),)
    )
    assert (takes(quota, pod()), takes(quota, pod(priority_class="high"))) == (True, False)


def test_a_scope_that_asks_what_we_do_not_know() -> None:
    """Then nobody's number is guessed, unless no pod that asks for the resource could match."""
    quota = scoped("CrossNamespacePodAffinity", values=("high",))
    assert takes(quota, pod(priority_class="high")) is None
    assert takes(quota, pod()) is False
    assert holders(quota, GPU, [pod(priority_class="high")]) is None
    assert holders(quota, GPU, [pod(), pod(gpus=0, priority_class="high")]) == []


def test_a_scope_of_volumes_takes_no_pod() -> None:
    """VolumeAttributesClass is about claims of storage."""
    assert takes(scoped("VolumeAttributesClass"), pod()) is False


def test_holders_by_workload() -> None:
    """The greatest first, pods by name, what waits apart from what is bound."""
    found = holders(
        scoped(),
        GPU,
        [
            pod("web-7d4b9c6f5-x2x9k", 2),
            pod("train-1", 4, node=None, waits="0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
            pod("train-0", 4),
            pod("done", 8, terminal=True),
            pod("cpu-only", 0),
        ],
    )
    assert found == [
        Holder(
            workload="train",
            pods=(
                HolderPod(name="train-0", devices=4, node="n1"),
                HolderPod(name="train-1", devices=4, waits="0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
            ),
        ),
        Holder(workload="web", pods=(HolderPod(name="web-7d4b9c6f5-x2x9k", devices=2, node="n1"),)),
    ]
    assert [(holder.bound, holder.pending) for holder in found] == [(4, 4), (2, 0)]
    assert devices_of(found) == 10


def test_init_containers_count_as_kubernetes_counts_them() -> None:
    """The greediest one with the sidecars started before it, or all the others together."""
    fetch, later = (Ask(container=name, resource=GPU, count=count, init=True) for name, count in (("a", 5), ("b", 2)))
    side, main = Ask(container="side", resource=GPU, count=1), Ask(container="main", resource=GPU, count=3)
    other = Ask(container="main", resource="nvidia.com/mig-1g.10gb", count=7)
    for asks, devices in (
        ((side, fetch, main, other), 6),
        ((fetch, side, main, other), 5),
        ((later, side, main, other), 4),
        ((later, main), 3),
        ((later,), 2),
        ((other,), 0),
    ):
        found = holders(scoped(), GPU, [pod(asks=asks)])
        assert found is not None
        assert devices_of(found) == devices, asks


@pytest.mark.parametrize(
    ("name", "workload"),
    [
        ("web-7d4b9c6f5-x2x9k", "web"),
        ("train-x2x9k", "train"),
        ("train-3-x2x9k", "train"),
        ("web-0", "web"),
        ("llama-70b-x2x9k", "llama-70b"),
        ("notebook-alice", "notebook-alice"),
        ("x2x9k", "x2x9k"),
    ],
)
def test_names_of_workloads(name: str, workload: str) -> None:
    """Deployment, Job, indexed Job, StatefulSet, and pods that nothing made."""
    assert workload_of(name) == workload


@pytest.mark.parametrize(
    ("name", "maker", "made"),
    [
        ("web-7d4b9c6f5-x2x9k", "web-7d4b9c6f5", True),
        ("train-x2x9k", "train", True),
        ("train-3-x2x9k", "train", True),
        ("web-0", "web", True),
        ("web-7d4b9c6f5-x2x9k", "web", False),
        ("web-7d4b9c6f5-x2x9k", "web-5c6d7f8b9", False),
        ("train", "train", False),
        ("train-queue", "train", False),
        ("trainer-x2x9k", "train", False),
    ],
)
def test_who_made_a_pod(name: str, maker: str, made: bool) -> None:
    """By the whole name of its maker; a Deployment's pods are made by its ReplicaSet."""
    assert is_made_by(name, maker) is made
