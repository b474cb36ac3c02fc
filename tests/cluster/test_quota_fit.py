"""The estimate of what fits is what a real API server admits: pods of each kind, at and beyond each bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chargeback.cluster.pod_manifest import to_workload
from chargeback.core.quota.fit import fit, verdict
from chargeback.core.quota.fit_ask import Ask, ask_for_gpus
from chargeback.core.quota.specs import QuotaObjects
from tests.cluster.control_plane import ControlPlane, Refused, control_plane
from tests.cluster.quota_cluster import (
    COLLECTIONS,
    GPU,
    ask,
    container,
    create,
    documents,
    gpus,
    in_force,
    new_namespace,
    pod,
    priority,
    put_limits,
    put_quota,
    put_runtime_class,
)

MIG = "nvidia.com/mig-1g.10gb"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """With the reference classes, and a runtime class that costs something."""
    with control_plane(tmp_path_factory.mktemp("cluster")) as plane:
        for found in documents("as-written/priority-classes.yaml"):
            create(plane, found)
        put_runtime_class(plane)
        yield plane


@pytest.fixture
def namespace(plane: ControlPlane, request: pytest.FixtureRequest) -> str:
    return new_namespace(plane, request)


@pytest.fixture(scope="module")
def reference(plane: ControlPlane) -> None:
    """The corrected one, in force."""
    for name in ("namespaces", "quotas", "limits"):
        for found in documents(f"corrected/{name}.yaml"):
            create(plane, found)
            if found["kind"] == "ResourceQuota":
                in_force(plane, found["metadata"]["namespace"], found["metadata"]["name"])


def admitted(plane: ControlPlane, manifest: dict[str, Any]) -> bool:
    try:
        create(plane, manifest, "?dryRun=All")
    except Refused:
        return False
    return True


def estimate(objects: QuotaObjects, manifest: dict[str, Any]) -> bool | None:
    workload = to_workload(manifest)
    return verdict(fit(objects, Ask(namespace=workload.namespace, pod=workload.pod)))


def spec(*containers: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"containers": list(containers), **others}


def init(number: int) -> dict[str, Any]:
    return container(f"init-{number}", **gpus(number))


def sidecar(number: int) -> dict[str, Any]:
    return container(f"sidecar-{number}", **gpus(number), restartPolicy="Always")


ELSEWHERE = {"topologyKey": "zone", "namespaces": ["x"], "labelSelector": {}}
CASES: dict[str, tuple[bool, dict[str, Any]]] = {
    "all that is left": (True, spec(container(**gpus(4)))),
    "one more": (False, spec(container(**gpus(5)))),
    "two containers": (False, spec(container("a", **gpus(2)), container("b", **gpus(3)))),
    "init hungrier than the rest": (False, spec(container(**gpus(1)), initContainers=[init(5)])),
    "init as hungry as the room": (True, spec(container(**gpus(4)), initContainers=[init(4), init(3)])),
    "sidecar and app together": (False, spec(container(**gpus(3)), initContainers=[sidecar(2)])),
    "sidecar and app within": (True, spec(container(**gpus(2)), initContainers=[sidecar(2)])),
    "init after a sidecar": (False, spec(container(**gpus(1)), initContainers=[sidecar(2), init(3)])),
    "init before a sidecar": (True, spec(container(**gpus(1)), initContainers=[init(4), sidecar(2)])),
    "MIG devices beside GPUs": (False, spec(container(**gpus(1, **{MIG: "3"})))),
    "MIG devices within": (True, spec(container(**gpus(1, **{MIG: "2"})))),
    "best effort, for GPUs do not matter": (False, spec(container(**gpus(1)), priorityClassName="ml-low")),
    "not best effort": (True, spec(container(**gpus(1, cpu="1")), priorityClassName="ml-low")),
    "with a deadline": (False, spec(container(**gpus(1)), activeDeadlineSeconds=60)),
    "near pods of another namespace": (
        False,
        spec(
            container(**gpus(1)),
            affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [ELSEWHERE]}},
        ),
    ),
    "better near pods of another namespace": (
        False,
        spec(
            container(**gpus(1)),
            affinity={
                "podAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": ELSEWHERE}]
                }
            },
        ),
    ),
    "beyond the quota of its class": (False, spec(container(**gpus(2)), priorityClassName="ml-high")),
    "within the quota of its class": (True, spec(container(**gpus(1)), priorityClassName="ml-high")),
    "no such class": (False, spec(container(**gpus(1)), priorityClassName="nobody")),
    "no such runtime": (False, spec(container(**gpus(1)), runtimeClassName="nobody")),
    "a runtime that costs": (True, spec(container(**gpus(1)), runtimeClassName="kata")),
    "half a GPU": (False, spec(container(**gpus("0.5")))),
    "request unlike limit": (False, spec(container(resources={"limits": {GPU: "2"}, "requests": {GPU: "1"}}))),
    "request above limit": (False, spec(container(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}))),
    "containers beyond the whole": (
        False,
        spec(container(**gpus(1, cpu="2")), resources={"requests": {"cpu": "1"}, "limits": {"cpu": "3"}}),
    ),
    "a whole that asks for GPUs": (False, spec(container(), resources={"limits": {GPU: "1"}})),
}


@pytest.fixture(scope="module")
def crowded(plane: ControlPlane) -> str:
    """Four GPUs, two MIG devices; one for ml-high; no best effort of ml-low, no deadline, no other namespace."""
    create(plane, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "crowded"}})
    put_quota(plane, "crowded", {f"requests.{GPU}": "4", f"requests.{MIG}": "2"})
    put_quota(plane, "crowded", {f"requests.{GPU}": "1"}, name="high", scopeSelector=priority("ml-high"))
    for scope in ("BestEffort", "Terminating", "CrossNamespacePodAffinity"):
        low = priority("ml-low")["matchExpressions"] if scope == "BestEffort" else []
        terms = [{"scopeName": scope, "operator": "Exists"}, *low]
        put_quota(plane, "crowded", {"pods": "0"}, name=scope.lower(), scopeSelector={"matchExpressions": terms})
    return "crowded"


@pytest.mark.parametrize("case", CASES)
async def test_an_estimate_agrees_with_the_server(plane: ControlPlane, crowded: str, case: str) -> None:
    """Of each kind of pod, at and beyond each bound."""
    fits, spec = CASES[case]
    manifest = {**pod(crowded), "spec": spec}
    assert (estimate(await ask(plane, crowded), manifest), admitted(plane, manifest)) == (fits, fits)


@pytest.mark.parametrize(
    ("name", "number", "priority_class", "fits"),
    [
        ("ml-production", 8, "ml-critical", True),
        ("ml-production", 9, "ml-critical", False),
        ("ml-production", 1, "ml-low", False),
        ("ml-production", 1, None, False),
        ("ml-production", 1, "critical", False),
        ("ml-research", 32, None, True),
        ("ml-research", 33, None, False),
        ("ml-experiments", 32, "ml-low", True),
    ],
)
async def test_so_does_one_of_gpus_alone_in_the_corrected_reference(
    plane: ControlPlane, reference: None, name: str, number: int, priority_class: str | None, fits: bool
) -> None:
    """`--gpus` and `--priority-class`."""
    lines = fit(await ask(plane, name), ask_for_gpus(name, number, priority_class=priority_class))
    manifest = pod(
        name, container(**gpus(number)), **({"priorityClassName": priority_class} if priority_class else {})
    )
    assert (verdict(lines), admitted(plane, manifest)) == (fits, fits), lines


async def test_limits_of_a_namespace_are_part_of_the_estimate(plane: ControlPlane, namespace: str) -> None:
    """A default makes a web pod one of GPUs, bounds refuse, and a quota of cpu is told by a default."""
    put_limits(plane, namespace, type="Container", max={GPU: "4", "cpu": "2"}, defaultRequest={"cpu": "100m"})
    put_quota(plane, namespace, {f"requests.{GPU}": "7", "requests.cpu": "250m", "limits.memory": "1Gi"})
    memory = {"memory": "512Mi"}
    manifests = {
        "two web containers get four GPUs each": pod(
            namespace, container("a", **gpus(0, **memory)), container("b", resources={"limits": memory})
        ),
        "two of them": pod(
            namespace, container("a", resources={"limits": memory}), container("b", resources={"limits": memory})
        ),
        "no memory": pod(namespace, container(**gpus(1))),
        "five in one": pod(namespace, container(**gpus(5, **memory))),
        "too much cpu": pod(namespace, container(**gpus(1, cpu="3", **memory))),
        "all right": pod(namespace, container(**gpus(4, **memory))),
    }
    objects = await ask(plane, namespace)
    answers = {case: (estimate(objects, each), admitted(plane, each)) for case, each in manifests.items()}
    assert {case: mine for case, (mine, _) in answers.items()} == {case: its for case, (_, its) in answers.items()}
    assert [case for case, (_, its) in answers.items() if its] == [
        "two web containers get four GPUs each",
        "all right",
    ]


async def test_a_default_class_counts_for_pods_that_name_none(plane: ControlPlane, namespace: str) -> None:
    put_quota(plane, namespace, {f"requests.{GPU}": "1"}, scopeSelector=priority("usual"))
    manifest = pod(namespace, container(**gpus(2)))
    assert estimate(await ask(plane, namespace), manifest) is admitted(plane, manifest) is True
    usual = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "usual"}}
    create(plane, usual | {"value": 1, "globalDefault": True})
    try:
        assert estimate(await ask(plane, namespace), manifest) is admitted(plane, manifest) is False
    finally:
        plane.call("DELETE", COLLECTIONS["PriorityClass"] + "/usual")
