"""A pod's defaults, its effective request, and what it takes of each key of a quota; worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import partial

import pytest

from chargeback.core.quota.limit_ranges import LimitItem, LimitRange
from chargeback.core.quota.pod_template import Container, PodTemplate, of_gpus

GPU, MIG = "nvidia.com/gpu", "nvidia.com/mig-1g.10gb"

D = Decimal


def amounts(**numbers: int | str) -> dict[str, Decimal]:
    """gpu and mig stand for their resources."""
    names = {"gpu": GPU, "mig": MIG, "ephemeral": "ephemeral-storage"}
    return {names.get(name, name): D(number) for name, number in numbers.items()}


def container(requests: Mapping[str, Decimal] | None = None, name: str = "main", **limits: int | str) -> Container:
    """Limits by name; requests: None: as the limits."""
    found = amounts(**limits)
    return Container(name=name, requests=found if requests is None else requests, limits=found)


def sidecar(**limits: int | str) -> Container:
    found = amounts(**limits)
    return Container(name="sidecar", requests=found, limits=found, is_sidecar=True)


def limits(*items: LimitItem) -> LimitRange:
    return LimitRange(namespace="team", name="gpu", items=items)


item = partial(LimitItem, type="Container")


@pytest.mark.parametrize(
    ("containers", "init", "gpus"),
    [
        ((container(gpu=1), container(gpu=2)), (), 3),
        ((container(gpu=1),), (container(gpu=2),), 2),
        ((container(gpu=2),), (container(gpu=1), container(gpu=2)), 2),
        ((container(gpu=1),), (sidecar(gpu=2),), 3),
        ((container(gpu=1),), (sidecar(gpu=2), container(gpu=3)), 5),
        ((container(gpu=1),), (container(gpu=3), sidecar(gpu=2)), 3),
        ((container(gpu=1),), (sidecar(gpu=1), container(gpu=2), sidecar(gpu=4)), 6),
    ],
)
def test_the_effective_request(containers: tuple[Container, ...], init: tuple[Container, ...], gpus: int) -> None:
    """The containers and sidecars together, or an init container with the sidecars before it: the greater."""
    pod = PodTemplate(containers=containers, init=init)
    assert pod.effective() == {GPU: gpus}
    assert pod.effective(limits=True) == {GPU: gpus}


def test_resources_are_apart() -> None:
    """Each has its own greatest moment."""
    pod = PodTemplate(containers=(container(gpu=2, cpu=1),), init=(container(mig=3, cpu=4),))
    assert pod.effective() == amounts(gpu=2, mig=3, cpu=4)


def test_a_limit_is_a_request_too() -> None:
    """Where none is written, before any LimitRange is asked."""
    pod = PodTemplate(
        containers=(container({}, gpu=1, cpu=2),), init=(container(amounts(cpu=1), cpu=2),)
    ).admitted(())  # fmt: skip
    assert pod.containers[0].requests == amounts(gpu=1, cpu=2)
    assert pod.init[0].requests == amounts(cpu=1)


def test_what_a_limit_range_gives() -> None:
    """What is not said: the default limit and the default request; max and min where these are not written."""
    given = limits(
        item(bounds={"default": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}}),
        item(bounds={"max": {GPU: "8"}, "min": {"memory": "5"}}),
        LimitItem(type="Pod", bounds={"max": {MIG: "7"}}),
    )
    (main,) = PodTemplate(containers=(Container(name="main"),)).admitted((given,)).containers
    assert (main.limits, main.requests) == (amounts(cpu=2, gpu=8), amounts(cpu=1, gpu=8, memory=5))
    (said,) = PodTemplate(containers=(container(gpu=0, cpu=3),)).admitted((given,)).containers
    assert (said.limits, said.requests) == (amounts(gpu=0, cpu=3), amounts(gpu=0, cpu=3, memory=5))


def test_a_default_that_cannot_be_read_is_none() -> None:
    """And the max does not take its place."""
    given = limits(item(bounds={"max": {GPU: "8"}, "default": {GPU: "many"}}))
    assert PodTemplate(containers=(Container(name="main"),)).admitted((given,)).effective() == {}


def test_what_a_quota_counts_of_a_pod() -> None:
    """Extended resources by `requests.` only; the others by limits and two names of requests."""
    pod = PodTemplate(
        containers=(container(amounts(gpu=2, cpu=1) | {"hugepages-2Mi": D(4)}, gpu=2, cpu=3, memory=8, ephemeral=9),)
    )
    assert pod.usage() == {
        "pods": 1, "count/pods": 1, f"requests.{GPU}": 2,
        "cpu": 1, "requests.cpu": 1, "limits.cpu": 3,
        "limits.memory": 8, "limits.ephemeral-storage": 9,
        "hugepages-2Mi": 4, "requests.hugepages-2Mi": 4,
    }  # fmt: skip
    assert PodTemplate(containers=(container(**{"vendor.kubernetes.io/x": 1}),)).usage() == {
        "pods": 1, "count/pods": 1,
    }  # fmt: skip


def test_overhead_comes_on_top() -> None:
    """On requests always, on limits where there is one above 0."""
    pod = PodTemplate(containers=(container(amounts(cpu=1), memory=2),))
    used = pod.usage(amounts(cpu=1, memory=3))
    assert (used["requests.cpu"], used["requests.memory"], used["limits.memory"]) == (2, 3, 5)
    assert "limits.cpu" not in used


def test_a_pod_that_speaks_as_a_whole() -> None:
    """Of cpu, memory and hugepages; GPUs stay the sum. Where only limits are said, requests follow."""
    whole = PodTemplate(containers=(container(gpu=1, cpu=1),), limits=amounts(cpu=4, memory=8, gpu=9))
    pod = whole.admitted(())
    assert pod.effective() == amounts(gpu=1, cpu=1, memory=8)
    assert pod.effective(limits=True) == amounts(gpu=1, cpu=4, memory=8)
    assert PodTemplate(containers=(container(cpu=1),), requests=amounts(cpu=2)).admitted(()).effective() == amounts(
        cpu=2
    )


@pytest.mark.parametrize(
    ("pod", "is_so"),
    [
        (of_gpus(8), True),
        (PodTemplate(containers=(container(cpu=0),)), True),
        (PodTemplate(containers=(container(cpu=1),)), False),
        (PodTemplate(containers=(Container(name="a"),), init=(container(memory=1),)), False),
        (PodTemplate(containers=(Container(name="a"),), requests=amounts(cpu=1)), False),
    ],
)
def test_best_effort_is_a_matter_of_cpu_and_memory(pod: PodTemplate, is_so: bool) -> None:
    """A pod of GPUs alone is best effort."""
    assert pod.is_best_effort is is_so


@pytest.mark.parametrize(
    ("key", "says"), [("cpu", True), ("requests.cpu", True), ("limits.cpu", False), ("limits.memory", True)]
)
def test_what_a_container_says(key: str, says: bool) -> None:
    """As quotas of cpu and memory demand it."""
    assert Container(name="a", requests=amounts(cpu=1), limits=amounts(memory=1)).says(key) is says
