"""What the lint says of LimitRanges and workloads is what a real API server does with pods."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from chargeback.cluster.pod_manifest import to_workload
from chargeback.cluster.quota_objects import to_manifest
from chargeback.core.quota.fix import mend
from chargeback.core.quota.limit_ranges import LimitItem, LimitRange
from chargeback.core.quota.lint import lint
from chargeback.core.quota.specs import QuotaObjects
from tests.cluster.control_plane import ControlPlane, Refused, control_plane
from tests.cluster.quota_cluster import (
    COLLECTIONS,
    GPU,
    ask,
    create,
    documents,
    given,
    new_namespace,
    put_limits,
    put_pod,
    put_quota,
    resources,
    rules,
)
from tests.programs import wait_for


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("cluster")) as plane:
        yield plane


@pytest.fixture
def namespace(plane: ControlPlane, request: pytest.FixtureRequest) -> str:
    return new_namespace(plane, request)


async def test_the_reference_limit_range_gives_gpus_to_everybody(plane: ControlPlane, namespace: str) -> None:
    """injected-gpus: a web pod that says nothing of GPUs becomes a pod with eight."""
    for found in documents("as-written/limits.yaml"):
        create(plane, found | {"metadata": {"name": "gpu", "namespace": namespace}})
    assert resources(put_pod(plane, namespace)) == ("8", "8")
    assert await rules(plane, namespace) == {"injected-gpus"}


async def test_a_default_is_given_to_everybody(plane: ControlPlane, namespace: str) -> None:
    """default-gpus: also where only the default is written."""
    put_limits(plane, namespace, type="Container", default={GPU: "1"})
    assert resources(put_pod(plane, namespace)) == ("1", "1")
    assert await rules(plane, namespace) == {"default-gpus"}


@pytest.mark.parametrize("bound", ["max", "min"])
async def test_bounds_on_pods_refuse_pods_without_gpus(plane: ControlPlane, namespace: str, bound: str) -> None:
    """refused-pods: a pod that wants none is refused."""
    put_limits(plane, namespace, type="Pod", **{bound: {GPU: "8"}})
    with pytest.raises(Refused, match=f"{bound}imum nvidia.com/gpu usage per Pod is 8.  No ") as refused:
        put_pod(plane, namespace)
    assert refused.value.status == 403
    assert await rules(plane, namespace) == {"refused-pods"}


async def test_a_least_number_for_containers_refuses_those_without(plane: ControlPlane, namespace: str) -> None:
    """refused-containers: it is injected as a request without a limit."""
    put_limits(plane, namespace, type="Container", min={GPU: "1"})
    with pytest.raises(Refused, match="Limit must be set for non overcommitable resources") as refused:
        put_pod(plane, namespace)
    assert refused.value.status == 422
    assert await rules(plane, namespace) == {"refused-containers"}


@pytest.mark.parametrize(
    "item",
    [
        {"type": "Pod", "max": {GPU: "8"}},
        {"type": "Pod", "max": {GPU: "8"}, "min": {GPU: "1"}},
        {"type": "Container", "max": {GPU: "8"}, "min": {GPU: "1"}},
        {"type": "Container", "default": {GPU: "2"}},
        {"type": "Container", "min": {GPU: "1"}},
    ],
)
async def test_mended_limits_let_pods_without_gpus_in(
    plane: ControlPlane, namespace: str, item: dict[str, Any]
) -> None:
    """`--fix` of what the cluster holds, put in its place: accepted, nothing injected, nothing found."""
    put_limits(plane, namespace, **item)
    (mended,) = mend(await ask(plane, namespace))
    manifest = to_manifest(mended.object)
    plane.call("PUT", COLLECTIONS["LimitRange"].format(namespace) + "/gpu", manifest)
    wait_for("admission to see it", lambda: given(plane, namespace) in ((None, None), ("0", "0")))
    assert await rules(plane, namespace) == set()


@pytest.mark.parametrize(
    ("type", "rule"),
    [("Container", "refused-containers"), ("Pod", "refused-pods")],
)
async def test_a_ratio_refuses_pods_without_gpus(plane: ControlPlane, namespace: str, type: str, rule: str) -> None:
    """Nothing asked has no ratio; --fix leaves it out."""
    put_limits(plane, namespace, type=type, maxLimitRequestRatio={GPU: "1"})
    with pytest.raises(Refused, match=f"ratio per {type} is 1, but no request is specified") as refused:
        put_pod(plane, namespace)
    assert refused.value.status == 403
    assert rule in await rules(plane, namespace)
    (mended,) = mend(await ask(plane, namespace))
    assert to_manifest(mended.object)["spec"]["limits"] == []


@pytest.mark.parametrize("bounds", [{"default": {GPU: "2"}}, {"max": {GPU: "2"}}])
def test_a_default_request_unlike_the_default_is_refused(
    plane: ControlPlane, namespace: str, bounds: dict[str, dict[str, str]]
) -> None:
    """refused-containers: the API server takes no such LimitRange; the mended one it takes."""
    item = {"type": "Container", "defaultRequest": {GPU: "1"}, **bounds}
    with pytest.raises(Refused, match="must equal to defaultRequest value 1") as refused:
        put_limits(plane, namespace, **item)
    assert refused.value.status == 422
    limits = LimitRange(
        namespace=namespace,
        name="gpu",
        items=(LimitItem(type="Container", bounds={"defaultRequest": {GPU: "1"}, **bounds}),),
    )
    objects = QuotaObjects(limit_ranges=(limits,))
    assert "whole object (422)" in next(f.what for f in lint(objects) if f.rule == "refused-containers")
    create(plane, to_manifest(mend(objects)[0].object))
    assert given(plane, namespace) == ("0", "0")


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"limits": {GPU: "4"}, "requests": {GPU: "1"}}, "must be equal"),
        ({"requests": {GPU: "1"}}, "Limit must be set"),
        ({"limits": {GPU: "0.5"}}, "must be an integer"),
        ({"limits": {GPU: "2"}}, None),
        ({"limits": {GPU: "2"}, "requests": {GPU: "2"}}, None),
    ],
)
def test_workloads_that_ask_as_no_pod_can(
    plane: ControlPlane, namespace: str, resources: dict[str, Any], said: str | None
) -> None:
    """unequal-gpus: the Deployment is refused, and so is the pod."""
    template = {
        "metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [{"name": "main", "image": "none", "resources": resources}]},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a", "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template},
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": namespace}}
    found = lint(QuotaObjects(workloads=(to_workload(deployment),)))
    if said is None:
        create(plane, pod | {"spec": template["spec"]})
        create(plane, deployment)
        assert found == []
    else:
        for manifest in (pod | {"spec": template["spec"]}, deployment):
            with pytest.raises(Refused, match=said) as refused:
                create(plane, manifest)
            assert refused.value.status == 422
        assert [(each.rule, each.object) for each in found] == [("unequal-gpus", f"Deployment {namespace}/a")]


async def test_a_quota_of_cpu_makes_every_container_say_it(plane: ControlPlane, namespace: str) -> None:
    """must-say, until a LimitRange says it for them."""
    put_quota(plane, namespace, {"requests.cpu": "8", "requests.nvidia.com/gpu": "8"})
    with pytest.raises(Refused, match=r"must specify requests.cpu for: main") as refused:
        put_pod(plane, namespace, 1)
    assert refused.value.status == 403
    assert "must-say" in {each.rule for each in lint(await ask(plane, namespace))}
    put_limits(plane, namespace, type="Container", defaultRequest={"cpu": "500m"})
    wait_for("admission to see it", lambda: isinstance(given(plane, namespace), tuple))
    put_pod(plane, namespace, 1)
    assert "must-say" not in {each.rule for each in lint(await ask(plane, namespace))}
    effective = (await ask(plane, namespace)).quotas[0].used["requests.cpu"]
    assert Decimal(effective.removesuffix("m")) == 500
