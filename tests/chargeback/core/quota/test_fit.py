"""The estimate whether GPUs would fit: each line of the arithmetic, and the verdict."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from chargeback.core.quota.fit import fit, verdict
from chargeback.core.quota.fit_ask import Ask, FitLine, ask_for_gpus
from chargeback.core.quota.limit_ranges import LimitItem, LimitRange
from chargeback.core.quota.pod_template import Container, PodTemplate
from chargeback.core.quota.specs import PriorityClass, QuotaObjects, QuotaSpec, ScopeTerm

GPU = "nvidia.com/gpu"
REQUESTS = f"requests.{GPU}"

ask = partial(ask_for_gpus, "team")


def quota(hard: str = "8", used: str | None = "6", key: str = REQUESTS, **fields: object) -> QuotaSpec:
    """One key, as the controller has counted it."""
    counted = {} if used is None else {key: used}
    status = {"status_hard": {key: hard}, "used": counted, "hard": {key: hard}}
    return QuotaSpec(**{"namespace": "team", "name": "gpu", **status, **fields})  # type: ignore[arg-type]


def lines(*quotas: QuotaSpec, asked: Ask, limits: tuple[LimitItem, ...] = ()) -> list[FitLine]:
    ranges = (LimitRange(namespace="team", name="gpu", items=limits),) if limits else ()
    return fit(QuotaObjects(quotas=quotas, limit_ranges=ranges), asked)


@pytest.mark.parametrize(("gpus", "pods", "fits"), [(2, 1, True), (3, 1, False), (1, 2, True), (1, 3, False)])
def test_what_is_left(gpus: int, pods: int, fits: bool) -> None:
    """Six of eight are used."""
    (line,) = lines(quota(), asked=ask(gpus=gpus, pods=pods))
    assert (line.fits, line.field) == (fits, REQUESTS)
    assert line.what == f"6 of 8 used, {gpus * pods} asked: 2 left"


def test_the_status_is_what_counts() -> None:
    """A raised quota holds once the controller has written it."""
    raised = quota(status_hard={REQUESTS: "8"}, hard={REQUESTS: "100"})
    assert verdict(lines(raised, asked=ask(gpus=3))) is False


def test_more_in_use_than_allowed_leaves_nothing() -> None:
    """Pods stay when a quota is lowered."""
    (line,) = lines(quota(hard="4"), asked=ask(gpus=1))
    assert (line.fits, line.what) == (False, "6 of 4 used, 1 asked: 2 too many already")


@pytest.mark.parametrize(("gpus", "fits"), [(8, None), (9, False)])
def test_without_a_status_only_the_bound_is_sure(gpus: int, fits: bool | None) -> None:
    """A manifest says what is allowed, not what is used."""
    assert verdict(lines(quota(used=None, status_hard={}), asked=ask(gpus=gpus))) is fits


def test_every_quota_must_admit_it() -> None:
    """One that refuses is enough, whatever the others say."""
    asked = ask(gpus=2)
    assert verdict(lines(quota(), quota(name="small", used="7"), asked=asked)) is False


def test_pods_are_counted_too() -> None:
    """Both keys that count them."""
    for key in ("pods", "count/pods"):
        full = quota(hard="5", used="5", key=key)
        assert [line.fits for line in lines(full, asked=ask(gpus=1))] == [False, True]


@pytest.mark.parametrize(("used", "fits"), [("6", True), ("8", None), (None, None)])
def test_what_pods_need_beside_gpus_is_not_estimated(used: str | None, fits: bool | None) -> None:
    """But where nothing is left of it, nothing can be promised."""
    (line, _) = lines(quota(used=used, key="requests.cpu"), asked=ask(gpus=1))
    assert line.fits is fits
    assert "not part of this estimate" in line.what


def test_dead_keys_refuse_nobody() -> None:
    """They are shown, so that nobody wonders."""
    found = lines(quota(hard="1", used=None, key=f"limits.{GPU}"), asked=ask(gpus=4))
    assert [line.fits for line in found] == [True, True]
    assert "not enforced by Kubernetes" in found[0].what


def test_other_resources_are_other_counters() -> None:
    """A quota on GPUs says nothing of MIG devices, nor of services; other namespaces say nothing at all."""
    other = quota(namespace="other", hard="0")
    (line,) = lines(quota(), quota(key="services"), other, asked=ask(gpus=100, resource="nvidia.com/mig-1g.10gb"))
    assert (line.object, line.fits) == ("Namespace team", True)


def test_a_number_that_cannot_be_read_promises_nothing() -> None:
    """What is no quantity."""
    assert verdict(lines(quota(hard="many"), asked=ask(gpus=1))) is None


@pytest.mark.parametrize(
    ("scope", "priority_class", "fits"),
    [
        (ScopeTerm(scope="PriorityClass", operator="In", values=("high",)), "high", False),
        (ScopeTerm(scope="PriorityClass", operator="In", values=("high",)), None, True),
        (ScopeTerm(scope="PriorityClass", operator="NotIn", values=("high",)), None, False),
        (ScopeTerm(scope="Terminating"), None, None),
        (ScopeTerm(scope="VolumeAttributesClass", operator="In", values=("x",)), None, True),
    ],
)
def test_only_quotas_that_the_pods_match_refuse(
    scope: ScopeTerm, priority_class: str | None, fits: bool | None
) -> None:
    """Where it hangs on what we do not know of the pods, it cannot be said."""
    full = quota(used="8", terms=(scope,))
    assert verdict(lines(full, asked=ask(gpus=1, priority_class=priority_class))) is fits


def test_a_default_class_is_taken_for_none() -> None:
    """Kubernetes sets it before quotas are asked."""
    full = quota(used="8", terms=(ScopeTerm(scope="PriorityClass", operator="In", values=("usual",)),))
    classes = (PriorityClass(name="usual", global_default=True),)
    assert verdict(fit(QuotaObjects(quotas=(full,), priority_classes=classes), ask(gpus=1))) is False


def test_a_class_that_is_not_there_is_refused() -> None:
    """Where the classes are known."""
    asked = ask(gpus=1, priority_class="critical")
    assert verdict(fit(QuotaObjects(quotas=(quota(),), priority_classes=()), asked)) is False
    assert verdict(fit(QuotaObjects(quotas=(quota(),)), asked)) is True


@pytest.mark.parametrize(
    ("type", "bound", "fits"),
    [("Container", "max", False), ("Pod", "max", False), ("Container", "min", True), ("Pod", "min", True)],
)
def test_limits_of_a_container_and_of_a_pod(type: str, bound: str, fits: bool) -> None:
    """Five are asked where four are the bound."""
    item = LimitItem(type=type, bounds={bound: {GPU: "4"}, "default": {GPU: "0"}})
    (line, _) = lines(asked=ask(gpus=5), limits=(item,))
    assert (line.field, line.fits) == (f"{type} {bound}[{GPU}]", fits)


def test_a_limit_that_gives_gpus_to_other_containers_is_named() -> None:
    """They would take what is left."""
    item = LimitItem(type="Container", bounds={"max": {GPU: "8"}})
    (line, _) = lines(asked=ask(gpus=1), limits=(item, LimitItem(type="PersistentVolumeClaim")))
    assert line.what.endswith("any other container of the pod must say 0, or it gets 8 as well")


def whole(*containers: Container, pods: int = 1, **fields: Any) -> Ask:
    """A pod that is known whole, as from a manifest."""
    return Ask(namespace="team", pod=PodTemplate(containers=containers, **fields), pods=pods)


def container(name: str = "main", **numbers: int | str) -> Container:
    found = {GPU if key == "gpu" else key: Decimal(number) for key, number in numbers.items()}
    return Container(name=name, requests=found, limits=found)


@pytest.mark.parametrize(
    ("scope", "fields", "fits"),
    [
        ("Terminating", {"is_terminating": True}, False),
        ("Terminating", {}, True),
        ("NotTerminating", {"is_terminating": True}, True),
        ("NotTerminating", {}, False),
        ("BestEffort", {}, False),
        ("BestEffort", {"requests": {"cpu": Decimal(1)}}, True),
        ("NotBestEffort", {}, True),
        ("CrossNamespacePodAffinity", {"crosses_namespaces": True}, False),
        ("CrossNamespacePodAffinity", {}, True),
    ],
)
def test_every_scope_is_decided_of_a_whole_pod(scope: str, fields: dict[str, Any], fits: bool) -> None:
    full = quota(used="8", terms=(ScopeTerm(scope=scope),))
    assert verdict(lines(full, asked=whole(container(gpu=1), **fields))) is fits


def test_every_key_of_a_quota_is_added_up() -> None:
    """MIG devices, memory and objects, times the pods; what the pods take nothing of is left out."""
    mig = "requests.nvidia.com/mig-1g.10gb"
    keys = {mig: "7", "limits.memory": "64Gi", "pods": "9", "services": "0", "requests.ephemeral-storage": "0"}
    used = dict.fromkeys(keys, "0") | {"limits.memory": "32Gi"}
    full = QuotaSpec(namespace="team", name="all", hard=keys, used=used)
    main = container(**{"nvidia.com/mig-1g.10gb": 3, "memory": 16 * 2**30})
    found = {line.field: line for line in fit(QuotaObjects(quotas=(full,)), whole(main, pods=2))}
    assert {field: line.fits for field, line in found.items()} == {mig: True, "limits.memory": True, "pods": True}
    assert found["limits.memory"].what == "32Gi of 64Gi used, 32Gi asked: 32Gi left"
    assert verdict(fit(QuotaObjects(quotas=(full,)), whole(main, pods=3))) is False


def test_a_quota_of_cpu_refuses_who_does_not_say() -> None:
    """Each container, init ones too; unless the pod speaks as a whole, or a LimitRange says it for them."""
    room = quota(hard="8", used="0", key="requests.cpu")
    silent = whole(container("a", cpu=1), container("b", gpu=1), init=(container("c"),))
    (line,) = [line for line in lines(room, asked=silent) if line.field == "requests.cpu"]
    assert (line.fits, line.what) == (False, "every container must say requests.cpu, and b, c does not")
    assert verdict(lines(room, asked=whole(container(gpu=1), requests={"cpu": Decimal(1)}))) is True
    said = LimitItem(type="Container", bounds={"defaultRequest": {"cpu": "1"}})
    assert verdict(lines(room, asked=silent, limits=(said,))) is True


def test_what_a_runtime_class_adds() -> None:
    """As it says; where it is not known, nothing is promised of cpu and memory; one that is not there is refused."""
    room = quota(hard="2", used="0", key="requests.cpu")
    asked = whole(container(cpu=1), runtime_class="kata")

    def answer(**known: Any) -> bool | None:
        return verdict(fit(QuotaObjects(quotas=(room,), **known), asked))

    assert answer(overheads={"kata": {"cpu": Decimal(1)}}) is True
    assert answer(overheads={"kata": {"cpu": Decimal(2)}}) is False
    assert answer(overheads={}) is False
    assert answer() is None
    said = whole(container(cpu=1), runtime_class="kata", overhead={"cpu": Decimal(2)})
    assert verdict(lines(room, asked=said)) is False
    assert verdict(lines(quota(), asked=whole(container(gpu=1), runtime_class="kata"))) is True


def test_claims_are_refused_after_the_pod() -> None:
    """By a quota without a scope that counts them."""
    key = "gpu.nvidia.com.deviceclass.resource.k8s.io/devices"
    asked = whole(container(), makes_claims=True)
    assert verdict(lines(quota(key=key), asked=asked)) is None
    assert verdict(lines(quota(key=key), asked=whole(container()))) is True
    assert verdict(lines(quota(key=key, terms=(ScopeTerm(scope="BestEffort"),)), asked=asked)) is True


def test_several_containers_are_shown_as_one_sum() -> None:
    """So that the number which quotas are asked for explains itself."""
    found = lines(quota(), asked=whole(container("a", gpu=1), container("b", gpu=1)))
    assert (found[0].object, found[0].what.partition(":")[0]) == ("the pod", "2 a pod")


def test_gpus_that_a_limit_range_gives_are_counted() -> None:
    """A web pod becomes one of eight GPUs."""
    given = LimitItem(type="Container", bounds={"max": {GPU: "8"}})
    found = lines(quota(), asked=whole(container()), limits=(given,))
    assert found[0].what == f"container main says nothing of {GPU} and gets 8"
    assert verdict(found) is False
