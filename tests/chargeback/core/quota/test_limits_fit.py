"""Pods that the API server refuses by themselves, and bounds of LimitRanges."""

from __future__ import annotations

from decimal import Decimal

import pytest

from chargeback.core.quota.fit_ask import Ask, FitLine, ask_for_gpus, show
from chargeback.core.quota.limit_ranges import LimitItem, LimitRange
from chargeback.core.quota.limits_fit import given, invalid, within
from chargeback.core.quota.pod_template import Container, PodTemplate

GPU = "nvidia.com/gpu"


def amounts(**numbers: int | str) -> dict[str, Decimal]:
    return {GPU if name == "gpu" else name: Decimal(number) for name, number in numbers.items()}


def pod(
    requests: dict[str, Decimal] | None = None, limits: dict[str, Decimal] | None = None, **whole: dict[str, Decimal]
) -> PodTemplate:
    return PodTemplate(containers=(Container(name="a", requests=requests or {}, limits=limits or {}),), **whole)  # type: ignore[arg-type]


def lines(template: PodTemplate, type: str = "Container", **bounds: dict[str, str]) -> list[FitLine]:
    limits = LimitRange(namespace="team", name="gpu", items=(LimitItem(type=type, bounds=bounds),))
    return list(within(limits, Ask(namespace="team", pod=template), template))


@pytest.mark.parametrize(
    ("template", "field", "said"),
    [
        (pod(amounts(gpu=1)), GPU, "without a limit"),
        (pod(amounts(gpu=1), amounts(gpu=2)), GPU, "request 1 must equal limit 2"),
        (pod(None, amounts(gpu=2)), GPU, "request nothing must equal limit 2"),
        (pod(amounts(gpu="0.5"), amounts(gpu="0.5")), GPU, "0.5 of it: want a whole number"),
        (pod(amounts(cpu=2), amounts(cpu=1)), "cpu", "request 2 is above limit 1"),
        (pod(amounts(cpu=2), amounts(cpu=0)), "cpu", "request 2 is above limit 0"),
        (pod(requests=amounts(gpu=1), limits=amounts(gpu=1)), None, None),
        (pod(amounts(cpu=1), amounts(cpu=2)), None, None),
        (pod(amounts(cpu=1)), None, None),
    ],
)
def test_containers_that_are_refused(template: PodTemplate, field: str | None, said: str | None) -> None:
    """422, whatever quotas say."""
    found = list(invalid(template))
    assert [(line.field, line.object, line.fits) for line in found] == (
        [(field, "container a", False)] if said else []
    )
    assert said is None or said in found[0].what


@pytest.mark.parametrize(
    ("requests", "limits", "said"),
    [
        ({}, amounts(gpu=1), "cpu, memory and hugepages only"),
        (amounts(cpu=1), {}, "the containers ask for 2 together, the pod for 1"),
        (amounts(cpu=3), amounts(cpu=2), "container a has a limit of 4, the pod one of 2"),
        (amounts(cpu=5), amounts(cpu=4), "request 5 is above limit 4"),
        (amounts(cpu=2), amounts(cpu=4), None),
        (amounts(memory=2), {}, None),
    ],
)
def test_containers_fit_into_what_the_pod_says(
    requests: dict[str, Decimal], limits: dict[str, Decimal], said: str | None
) -> None:
    """The container asks for 2 cpu and may use 4."""
    inner = (Container(name="a", requests=amounts(cpu=2), limits=amounts(cpu=4)),)
    found = list(invalid(PodTemplate(containers=inner, requests=requests, limits=limits)))
    assert [said in line.what for line in found if said] == ([True] if said else [])
    assert bool(found) is (said is not None)


@pytest.mark.parametrize(
    ("bound", "number", "requests", "limits", "fits"),
    [
        ("max", "4", amounts(gpu=4), amounts(gpu=4), True),
        ("max", "4", amounts(gpu=5), amounts(gpu=5), False),
        ("max", "4", amounts(gpu=5), amounts(gpu=3), False),
        ("max", "4", {}, {}, False),
        ("min", "2", amounts(gpu=2), amounts(gpu=2), True),
        ("min", "2", amounts(gpu=1), amounts(gpu=1), False),
        ("min", "2", amounts(gpu=2), amounts(gpu=1), False),
        ("min", "2", amounts(gpu=2), {}, True),
        ("min", "2", {}, {}, False),
        ("maxLimitRequestRatio", "2", amounts(gpu=1), amounts(gpu=2), True),
        ("maxLimitRequestRatio", "2", amounts(gpu=1), amounts(gpu=3), False),
        ("maxLimitRequestRatio", "2", amounts(gpu=0), amounts(gpu=0), False),
        ("max", "many", amounts(gpu=1), amounts(gpu=1), None),
    ],
)
@pytest.mark.parametrize("type", ["Container", "Pod"])
def test_bounds(
    type: str, bound: str, number: str, requests: dict[str, Decimal], limits: dict[str, Decimal], fits: bool | None
) -> None:
    """What is not said breaks a bound, too; a number that cannot be read promises nothing."""
    (line,) = lines(pod(requests, limits), type, **{bound: {GPU: number}})
    assert (line.fits, line.field) == (fits, f"{type} {bound}[{GPU}]")


def test_each_container_is_bounded_and_the_pod_as_a_whole() -> None:
    """Two of 3 are within 4 each, and not together; the one that breaks it is named."""
    three = Container(name="b", requests=amounts(gpu=3), limits=amounts(gpu=3))
    both = PodTemplate(containers=(Container(name="a", requests=amounts(gpu=3), limits=amounts(gpu=3)), three))
    assert [line.fits for line in lines(both, "Container", max={GPU: "4"})] == [True]
    (line,) = lines(both, "Pod", max={GPU: "4"})
    assert (line.fits, line.what) == (False, "at most 4 a pod: the pod has a limit of 6")
    (line,) = lines(both, "Container", max={GPU: "2"})
    assert line.what == "at most 2 a container: container a has a limit of 3"
    assert lines(both, "PersistentVolumeClaim", max={"storage": "1"}) == []


def test_who_gets_gpus_unasked() -> None:
    """The container that says nothing of them, and no other."""
    limits = LimitRange(
        namespace="team", name="gpu", items=(LimitItem(type="Container", bounds={"max": {GPU: "8"}}),)
    )
    two = PodTemplate(containers=(Container(name="web"), Container(name="gpu", limits=amounts(gpu=1))))
    (line,) = given(limits, Ask(namespace="team", pod=two))
    assert (line.what, line.fits) == (f"container web says nothing of {GPU} and gets 8", True)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("8", "8"),
        ("0.5", "0.5"),
        ("100", "100"),
        (2**30, "1Gi"),
        (3 * 2**28, "768Mi"),
        (2**41, "2Ti"),
        ("1500", "1500"),
    ],
)
def test_quantities_for_people(number: str | int, text: str) -> None:
    assert show(Decimal(number)) == text


def test_of_a_pod_known_in_part_only_gpus_are_held_to_bounds() -> None:
    """What it wants of cpu, nobody said; of GPUs it wants what it says, and none of other kinds."""
    item = LimitItem(type="Pod", bounds={"max": {GPU: "4", "cpu": "1", "nvidia.com/mig-1g.10gb": "7"}})
    asked = ask_for_gpus("team", 1)
    found = within(LimitRange(namespace="team", name="gpu", items=(item,)), asked, asked.pod)
    assert [(line.field, line.fits) for line in found] == [
        (f"Pod max[{GPU}]", True),
        ("Pod max[nvidia.com/mig-1g.10gb]", False),
    ]
