"""Any pod: what the estimate says of it is what a real API server admits, and counts in each key of a quota."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from chargeback.cluster.pod_manifest import to_workload
from chargeback.core.quota.fit import fit, verdict
from chargeback.core.quota.fit_ask import Ask, ask_for_gpus
from chargeback.core.quota.limit_ranges import amount
from chargeback.core.quota.specs import QuotaObjects
from tests.cluster.control_plane import ControlPlane, Refused, control_plane
from tests.cluster.quota_cluster import COLLECTIONS, GPU, ask, container, create, pod, put_limits, put_runtime_class

MIG = "nvidia.com/mig-1g.10gb"
# Every key that a pod can take of, as high as no test goes.
ROOM = {
    **dict.fromkeys(("pods", "count/pods", f"requests.{GPU}", f"requests.{MIG}"), "100000"),
    **dict.fromkeys(("requests.ephemeral-storage", "limits.ephemeral-storage"), "1Pi"),
}
SAID = {
    **dict.fromkeys(("cpu", "requests.cpu", "limits.cpu"), "100000"),
    **dict.fromkeys(("memory", "requests.memory", "limits.memory"), "1Pi"),
}


VALUES = {
    "cpu": ["0", "100m", "1", "1500m", "2"],
    "memory": ["0", "64Mi", "1Gi", "1500M", "2Gi"],
    "ephemeral-storage": ["1Gi", "2Gi"],
    GPU: ["0", "1", "2", "5"],
    MIG: ["1", "3"],
}
ODD = 24  # one in so many says what no pod may


@st.composite
def resources(draw: st.DrawFn, names: tuple[str, ...] = tuple(VALUES)) -> dict[str, Any]:
    """Requests and limits, in order as a rule: of cpu at most the limit, of devices the limit."""
    found: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
    for name in draw(st.lists(st.sampled_from(names), unique=True)):
        low, high = sorted(draw(st.lists(st.integers(0, len(VALUES[name]) - 1), min_size=2, max_size=2)))
        is_odd = draw(st.integers(1, ODD)) == 1
        if is_odd:
            low, high = high, low
        elif "/" in name:
            low = high
        said = draw(st.sampled_from(["limits", "both", *(["requests"] if is_odd or "/" not in name else [])]))
        if said != "requests":
            found["limits"][name] = VALUES[name][high]
        if said != "limits":
            found["requests"][name] = VALUES[name][low]
    return found


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    apps = [container(f"app-{n}", resources=draw(resources())) for n in range(draw(st.integers(1, 3)))]
    init = [
        container(
            f"init-{n}", resources=draw(resources()), **({"restartPolicy": "Always"} if draw(st.booleans()) else {})
        )
        for n in range(draw(st.integers(0, 3)))
    ]
    spec: dict[str, Any] = {"containers": apps, "initContainers": init}
    if draw(st.integers(0, 3)) == 0:
        spec["resources"] = draw(resources(("cpu", "memory")))
    if draw(st.booleans()):
        spec["runtimeClassName"] = "kata"
    return spec


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Without controllers, so that only admission writes what is used."""
    with control_plane(tmp_path_factory.mktemp("counting"), controllers=False) as plane:
        put_runtime_class(plane)
        for name, hard in (("room", ROOM), ("said", ROOM | SAID)):
            create(plane, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "all", "namespace": name}}
            create(plane, quota | {"spec": {"hard": hard}})
            status = {"status": {"hard": hard, "used": dict.fromkeys(hard, "0")}}
            plane.merge(COLLECTIONS["ResourceQuota"].format(name) + "/all/status", status)
        put_limits(
            plane,
            "said",
            type="Container",
            max={GPU: "2"},
            default={"cpu": "2", "memory": "2Gi", GPU: "0"},
            min={"memory": "1"},
        )
        yield plane


@pytest.fixture(scope="module")
def known(counting: ControlPlane) -> dict[str, QuotaObjects]:
    return {name: asyncio.run(ask(counting, name)) for name in ("room", "said")}


def used(plane: ControlPlane, namespace: str) -> dict[str, Decimal]:
    found = plane.call("GET", COLLECTIONS["ResourceQuota"].format(namespace) + "/all")["status"]["used"]
    return {key: amount(text) or Decimal(0) for key, text in found.items()}


def refusal_of(plane: ControlPlane, manifest: dict[str, Any]) -> str | None:
    """Create the pod; the server's words where it refuses."""
    try:
        create(plane, manifest)
    except Refused as refused:
        return refused.message
    return None


@given(spec=pods(), namespace=st.sampled_from(["room", "said"]))
@settings(max_examples=100, deadline=None)
def test_what_the_server_takes_and_counts_is_what_the_estimate_says(
    counting: ControlPlane, known: dict[str, QuotaObjects], spec: dict[str, Any], namespace: str
) -> None:
    """Any pod: admitted if and only if the estimate says so, and every key of the quota counts it to the unit."""
    manifest = {**pod(namespace), "spec": spec}
    objects, template = known[namespace], to_workload(manifest).pod
    lines = fit(objects, Ask(namespace=namespace, pod=template))
    before = used(counting, namespace)
    refusal = refusal_of(counting, manifest)
    event("refused" if refusal else "admitted")
    assert verdict(lines) is (refusal is None), (refusal, lines, spec)
    after = used(counting, namespace)
    overhead = (objects.overheads or {}).get(template.runtime_class or "", {})
    expected = {} if refusal else template.admitted(objects.limit_ranges).usage(overhead)
    counted = {key: after[key] - before[key] for key in before}
    assert counted == {key: expected.get(key, Decimal(0)) for key in before}, spec


def test_gpus_alone_are_a_pod_too(counting: ControlPlane, known: dict[str, QuotaObjects]) -> None:
    """`--gpus`: of a quota of cpu it cannot say whether the pod would say enough."""
    del counting
    assert verdict(fit(known["room"], ask_for_gpus("room", 8))) is True
    assert verdict(fit(known["room"], ask_for_gpus("room", 100_001))) is False
