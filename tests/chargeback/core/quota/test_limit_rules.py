"""Rules about LimitRanges and workloads, and what --fix makes of them; no cluster needed."""

from __future__ import annotations

from decimal import Decimal

import pytest

from chargeback.core.quota.fix import mend
from chargeback.core.quota.limit_ranges import LimitItem, LimitRange
from chargeback.core.quota.lint import lint
from chargeback.core.quota.pod_template import Container, PodTemplate
from chargeback.core.quota.specs import QuotaObjects, Workload
from tests.chargeback.core.quota.linting import GPU, after_fix, found, limits, quota


@pytest.mark.parametrize(
    ("type", "bounds", "rule"),
    [
        ("Container", {"max": {GPU: "8"}}, "injected-gpus"),
        ("Container", {"max": {GPU: "8"}, "default": {GPU: "8"}, "defaultRequest": {GPU: "8"}}, "injected-gpus"),
        ("Container", {"max": {GPU: "8"}, "default": {GPU: "1"}}, "default-gpus"),
        ("Container", {"default": {GPU: "1"}}, "default-gpus"),
        ("Container", {"max": {GPU: "8"}, "default": {GPU: "0"}}, None),
        ("Container", {"max": {GPU: "0"}}, None),
        ("Container", {"max": {"cpu": "8"}}, None),
        ("Container", {"max": {"nvidia.com/mig-1g.10gb": "7"}}, "injected-gpus"),
        ("Container", {"min": {GPU: "1"}}, "refused-containers"),
        ("Container", {"defaultRequest": {GPU: "0"}}, "refused-containers"),
        ("Container", {"defaultRequest": {GPU: "1"}, "max": {GPU: "0"}}, "refused-containers"),
        ("Container", {"defaultRequest": {GPU: "0"}, "default": {GPU: "0"}}, None),
        ("Container", {"maxLimitRequestRatio": {GPU: "1"}}, "refused-containers"),
        ("Pod", {"maxLimitRequestRatio": {GPU: "1"}}, "refused-pods"),
        ("Pod", {"max": {GPU: "8"}}, "refused-pods"),
        ("Pod", {"min": {GPU: "1"}}, "refused-pods"),
        ("Pod", {"max": {"cpu": "8"}}, None),
    ],
)
def test_limit_ranges(type: str, bounds: dict[str, dict[str, str]], rule: str | None) -> None:
    """What a bound does to pods that say nothing of GPUs; --fix leaves nothing to find and touches no other bound."""
    objects = limits(type, **bounds)
    assert [finding.rule for finding in found(objects)] == ([rule] if rule else [])
    assert found(after_fix(objects)) == []
    assert bool(mend(objects)) == bool(rule)


def test_a_bound_on_pods_becomes_one_on_containers() -> None:
    """The nearest that refuses no pod without GPUs; other resources stay where they are."""
    (mended,) = mend(limits("Pod", max={GPU: "8", "cpu": "64"}, min={GPU: "1"}))
    assert isinstance(mended.object, LimitRange)
    assert mended.object.items == (
        LimitItem(type="Pod", bounds={"max": {"cpu": "64"}}),
        LimitItem(type="Container", bounds={"max": {GPU: "8"}, "default": {GPU: "0"}}),
    )


def test_workloads_that_ask_for_gpus_as_nobody_can() -> None:
    """Of cpu nothing is said here."""
    unequal = Container(name="a", requests={GPU: Decimal(1)}, limits={GPU: Decimal(2)})
    cpu = Container(name="b", requests={"cpu": Decimal(2)}, limits={"cpu": Decimal(1)})
    workload = Workload(label="Job team/train", namespace="team", pod=PodTemplate(containers=(unequal, cpu)))
    (finding,) = found(QuotaObjects(workloads=(workload,)))
    assert (finding.rule, finding.object, finding.field) == (
        "unequal-gpus", "Job team/train", f"container a: {GPU}",
    )  # fmt: skip


def test_keys_that_every_container_must_say() -> None:
    """An info, until a LimitRange says it for them; and no matter of other namespaces."""
    hard = {"requests.cpu": "8", "limits.memory": "8", "pods": "8"}
    given = LimitItem(type="Container", bounds={"default": {"memory": "1Gi"}})

    def said(*ranges: LimitRange) -> list[str]:
        return [
            f.field
            for f in lint(QuotaObjects(quotas=(quota(hard=hard),), limit_ranges=ranges))
            if f.rule == "must-say"
        ]

    assert said() == ["spec.hard[limits.memory]", "spec.hard[requests.cpu]"]
    assert said(LimitRange(namespace="team", name="a", items=(given,))) == ["spec.hard[requests.cpu]"]
    assert len(said(LimitRange(namespace="other", name="a", items=(given,)))) == 2


@pytest.mark.parametrize(("request_", "is_so"), [("1", True), ("2", False), ("3", True)])
def test_a_default_request_equals_the_default(request_: str, is_so: bool) -> None:
    """Or the API server refuses the LimitRange, be it less or more."""
    objects = limits("Container", defaultRequest={GPU: request_}, default={GPU: "2"})
    assert ("refused-containers" in {finding.rule for finding in found(objects)}) is is_so
