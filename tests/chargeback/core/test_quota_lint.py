"""The rules of the quota lint, one by one, and what --fix makes of their findings; no cluster needed."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargeback.core.claims import DeviceClass
from chargeback.core.limit_ranges import LimitItem, LimitRange
from chargeback.core.owners import Namespace
from chargeback.core.pod_template import Container, PodTemplate
from chargeback.core.quota_fix import mend
from chargeback.core.quota_lint import RULES, SEVERITIES, Finding, lint
from chargeback.core.quota_specs import (
    PriorityClass,
    QuotaObjects,
    QuotaSpec,
    ScopeTerm,
    Workload,
)
from chargeback.core.quotas import CAP, GUARANTEED

GPU = "nvidia.com/gpu"
REQUESTS, LIMITS = f"requests.{GPU}", f"limits.{GPU}"
CLASSES = tuple(PriorityClass(name=name) for name in ("ml-critical", "ml-high", "ml-low"))

quota = partial(QuotaSpec, namespace="team", name="gpu")


def in_classes(*values: str, operator: str = "In") -> tuple[ScopeTerm, ...]:
    return (ScopeTerm(scope="PriorityClass", operator=operator, values=values),)


def limits(type: str, **bounds: dict[str, str]) -> QuotaObjects:
    item = LimitItem(type=type, bounds=bounds)
    return QuotaObjects(limit_ranges=(LimitRange(namespace="team", name="gpu", items=(item,)),))


def found(objects: QuotaObjects, plans_from: str = "annotations") -> list[Finding]:
    """Errors and warnings."""
    return [finding for finding in lint(objects, plans_from) if finding.severity != "info"]


def rules(*quotas: QuotaSpec, plans_from: str = "annotations", **known: Any) -> list[str]:
    return [finding.rule for finding in found(QuotaObjects(quotas=quotas, **known), plans_from)]


def after_fix(objects: QuotaObjects) -> QuotaObjects:
    """The objects as they are once people have put the corrected ones in place."""
    mended = [each.object for each in mend(objects)]
    quotas = {each.label: each for each in objects.quotas} | {q.label: q for q in mended if isinstance(q, QuotaSpec)}
    ranges = {each.label: each for each in objects.limit_ranges}
    ranges |= {each.label: each for each in mended if isinstance(each, LimitRange)}
    return QuotaObjects(
        quotas=tuple(quotas.values()),
        limit_ranges=tuple(ranges.values()),
        priority_classes=objects.priority_classes,
        namespaces=objects.namespaces,
        allocatable=objects.allocatable,
    )


def test_each_rule_has_a_name_of_its_own_and_a_severity() -> None:
    """Names are public: people grep for them."""
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert {rule.severity for rule in RULES} == set(SEVERITIES)


@pytest.mark.parametrize("key", [LIMITS, GPU, f"request.{GPU}", f"Requests.{GPU}", "limits.example.com/fpga", "a/b"])
def test_keys_that_nothing_counts(key: str) -> None:
    """Names with a slash that are neither `requests.` nor counted objects."""
    assert rules(quota(hard={key: "4"})) == ["dead-key"]


@pytest.mark.parametrize(
    "key",
    [
        REQUESTS, "requests.example.com/fpga", "limits.cpu", "pods", "services", "count/pods",
        "count/deployments.apps", "fast.storageclass.storage.k8s.io/requests.storage",
        "gpu.deviceclass.resource.k8s.io/devices", "requests.deviceclass.resource.kubernetes.io/gpu",
    ],
)  # fmt: skip
def test_keys_that_kubernetes_counts(key: str) -> None:
    """They are no findings."""
    assert rules(quota(hard={key: "4"})) == []


def test_the_worst_comes_first() -> None:
    """Errors, then warnings, then infos."""
    objects = QuotaObjects(quotas=(quota(hard={REQUESTS: "8", LIMITS: "32", "configmaps": "1"}),))
    assert [finding.severity for finding in lint(objects)] == ["error", "warning", "info"]


@pytest.mark.parametrize(
    ("scope", "key", "rule"),
    [
        ("PriorityClass", "services", "refused-key"),
        ("PriorityClass", "requests.storage", "refused-key"),
        ("Terminating", "configmaps", "refused-key"),
        ("BestEffort", "cpu", "refused-key"),
        ("PriorityClass", "count/configmaps", "uncounted-key"),
        ("PriorityClass", "gpu.deviceclass.resource.k8s.io/devices", "uncounted-key"),
        ("PriorityClass", "requests.cpu", None),
        ("PriorityClass", "count/pods", None),
        ("BestEffort", "pods", None),
        ("VolumeAttributesClass", "persistentvolumeclaims", None),
    ],
)
def test_keys_beside_a_scope(scope: str, key: str, rule: str | None) -> None:
    """A scope for pods carries keys of pods only: others are refused, or accepted and never counted."""
    assert rules(quota(hard={key: "4"}, scopes=(scope,))) == ([rule] if rule else [])


def test_scope_values_that_no_class_has() -> None:
    """In: the quota counts nobody by that name; NotIn: it leaves nobody out by it. The system's are always there."""
    hard = {REQUESTS: "8"}
    assert rules(quota(hard=hard, terms=in_classes("critical")), priority_classes=CLASSES) == [
        "unknown-class",
        "uncovered-class",
    ]
    unknown = quota(hard=hard, terms=in_classes("critical", operator="NotIn"))
    assert rules(unknown, priority_classes=CLASSES) == ["unknown-excluded-class"]
    system = quota(hard={"pods": "1"}, terms=in_classes("system-node-critical"))
    assert rules(system, priority_classes=CLASSES) == []


def test_without_classes_in_sight_nothing_is_said_of_their_names() -> None:
    """A file of quotas alone cannot tell; that pods without a class are not counted, it can."""
    (finding,) = found(QuotaObjects(quotas=(quota(hard={REQUESTS: "8"}, terms=in_classes("critical")),)))
    assert finding.rule == "uncovered-class"
    assert "pods of: no class." in finding.what


@pytest.mark.parametrize(
    ("quotas", "uncovered"),
    [
        ([()], None),
        ([in_classes("ml-critical", "ml-high")], "ml-low, no class"),
        ([in_classes("ml-critical", operator="NotIn")], "ml-critical"),
        ([in_classes("ml-critical"), in_classes("ml-critical", operator="NotIn")], None),
        ([in_classes(operator="Exists")], "no class"),
        ([in_classes(operator="DoesNotExist")], "ml-critical, ml-high, ml-low"),
        ([(ScopeTerm(scope="Terminating"),)], "ml-critical, ml-high, ml-low, no class"),
    ],
)
def test_classes_that_no_quota_counts(quotas: list[tuple[ScopeTerm, ...]], uncovered: str | None) -> None:
    """All quotas of a namespace together; a quota that another scope narrows covers nobody for certain."""
    specs = tuple(quota(name=f"q{n}", hard={REQUESTS: "8"}, terms=terms) for n, terms in enumerate(quotas))
    findings = found(QuotaObjects(quotas=specs, priority_classes=CLASSES))
    assert [f.what.partition("of: ")[2].partition(".")[0] for f in findings] == ([uncovered] if uncovered else [])


def test_with_a_default_class_no_pod_is_without_one() -> None:
    """Kubernetes gives it to pods that name none."""
    classes = (PriorityClass(name="usual", global_default=True),)
    assert rules(quota(hard={REQUESTS: "8"}, terms=in_classes("usual")), priority_classes=classes) == []


@pytest.mark.parametrize(("text", "allowed"), [("0.5", 0), ("1500m", 1)])
def test_parts_of_a_gpu(text: str, allowed: int) -> None:
    """Pods ask for whole devices, so the part is lost; --fix rounds down, as Kubernetes counts."""
    objects = QuotaObjects(quotas=(quota(hard={REQUESTS: text}),))
    (finding,) = found(objects)
    assert (finding.rule, finding.what.endswith(f"it allows {allowed}")) == ("fractional-gpus", True)
    assert after_fix(objects).quotas[0].hard == {REQUESTS: str(allowed)}


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


def test_guarantees_that_the_nodes_cannot_hold() -> None:
    """Their sum, by the rules of plans; without nodes in sight nothing is said."""
    quotas = (
        quota(hard={REQUESTS: "8"}, annotations={GUARANTEED: "3"}),
        quota(namespace="other", hard={REQUESTS: "8"}, annotations={GUARANTEED: "2"}),
    )
    assert rules(*quotas) == []
    assert rules(*quotas, allocatable={GPU: Decimal(5)}) == []
    assert rules(*quotas, allocatable={GPU: Decimal(4)}) == ["oversold-guarantees"]
    assert rules(quota(hard={REQUESTS: "8"}), allocatable={GPU: Decimal(4)}) == []
    assert rules(quota(hard={REQUESTS: "8"}), allocatable={GPU: Decimal(4)}, plans_from="quota") == [
        "oversold-guarantees"
    ]


def test_a_guarantee_above_what_kubernetes_admits() -> None:
    """It could never be used; nor above the plan's own cap. An annotation may stand on the namespace, too."""
    (finding,) = found(QuotaObjects(quotas=(quota(hard={REQUESTS: "4"}, annotations={GUARANTEED: "5"}),)))
    assert (finding.rule, finding.object) == ("guarantee-above-cap", "ResourceQuota team/gpu")
    assert finding.what == "5 are guaranteed, but Kubernetes refuses pods beyond 4"
    annotated = quota(hard={REQUESTS: "8"}, annotations={GUARANTEED: "5", CAP: "4"})
    (finding,) = found(QuotaObjects(quotas=(annotated,)))
    assert (finding.rule, finding.what) == ("guarantee-above-cap", "5 are guaranteed, but 4 are the most it may use")
    namespace = Namespace(name="team", cost_center="x", annotations={GUARANTEED: "5"})
    assert rules(quota(hard={REQUESTS: "4"}), namespaces=(namespace,)) == ["guarantee-above-cap"]
    assert rules(quota(hard={REQUESTS: "5"}), namespaces=(namespace,)) == []


def test_plans_that_are_unclear() -> None:
    """What is no number, and numbers that contradict each other: each is named with what is wanted."""
    (finding,) = found(QuotaObjects(quotas=(quota(hard={REQUESTS: "4"}, annotations={CAP: "many"}),)))
    assert (finding.rule, finding.field) == ("unclear-plan", CAP)
    assert "want a whole number of devices" in finding.what
    pair = (quota(name="a", hard={}, annotations={GUARANTEED: "1"}), quota(hard={}, annotations={GUARANTEED: "2"}))
    assert rules(*pair) == ["unclear-plan"]


def test_quantities_that_are_none() -> None:
    """In a file, for the API server takes none."""
    assert rules(quota(hard={"requests.cpu": "many"})) == ["unreadable-number"]


@pytest.mark.parametrize(
    ("found", "is_so"),
    [
        (DeviceClass(name="gpu.nvidia.com"), True),
        (DeviceClass(name="mig.nvidia.com"), True),
        (DeviceClass(name="h100", selectors=("device.driver == 'gpu.nvidia.com'",)), True),
        (DeviceClass(name="h100", extended_resource=GPU), True),
        (DeviceClass(name="compute-domain-default-channel.nvidia.com"), False),
        (DeviceClass(name="nic", extended_resource="example.com/nic"), False),
    ],
)
def test_classes_of_devices_whose_claims_no_quota_counts(found: DeviceClass, is_so: bool) -> None:
    """Of GPUs only, and only where a quota limits GPUs."""
    expected = ["uncounted-claims"] if is_so else []
    assert rules(quota(hard={REQUESTS: "8"}), device_classes=(found,)) == expected
    assert rules(quota(hard={"pods": "8"}), device_classes=(found,)) == []


def test_claims_are_counted_by_a_key_of_their_own_without_a_scope() -> None:
    """`requests.` of what the class stands for is named, for some API servers count it; --fix allows none."""
    found_class = DeviceClass(name="gpu.nvidia.com", extended_resource=GPU)
    key = "gpu.nvidia.com.deviceclass.resource.k8s.io/devices"
    assert rules(quota(hard={REQUESTS: "8", key: "2"}), device_classes=(found_class,)) == []
    scoped = quota(hard={REQUESTS: "8", key: "2"}, terms=in_classes("ml-high"), labels={"a": "b"})
    objects = QuotaObjects(quotas=(scoped,), device_classes=(found_class,))
    about = {finding.rule: finding for finding in found(objects)}
    assert set(about) == {"uncounted-key", "uncounted-claims", "uncovered-class"}
    assert "gpu has a scope, and claims match none" in about["uncounted-claims"].what
    (finding,) = found(QuotaObjects(quotas=(quota(hard={REQUESTS: "8"}),), device_classes=(found_class,)))
    assert finding.what.endswith(f"an API server with DRAExtendedResource does, as {REQUESTS}")
    mended = after_fix(QuotaObjects(quotas=(quota(hard={REQUESTS: "8"}),), device_classes=(found_class,)))
    assert mended.quotas[1] == quota(name="gpu-claims", hard={key: "0"})
    assert found(mended) == []


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


def test_namespaces_without_an_owner_or_a_quota() -> None:
    """Those that Kubernetes made for itself are left out; a quota of dead keys limits nothing."""
    known = (Namespace(name="team"), Namespace(name="kube-system"), Namespace(name="paid", cost_center="x"))
    findings = found(QuotaObjects(quotas=(quota(hard={LIMITS: "1"}),), namespaces=known))
    assert {(f.rule, f.object) for f in findings if f.severity == "warning"} == {
        ("no-cost-center", "Namespace team"),
        ("no-gpu-quota", "Namespace team"),
        ("no-gpu-quota", "Namespace paid"),
    }


def test_resources_that_nodes_offer_and_no_quota_counts() -> None:
    """A quota on whole GPUs does not limit MIG devices: each name is a counter of its own."""
    offered = {GPU: Decimal(8), "nvidia.com/mig-1g.10gb": Decimal(7), "nvidia.com/gpu.shared": Decimal(0)}
    findings = found(QuotaObjects(quotas=(quota(hard={REQUESTS: "8"}),), allocatable=offered))
    assert [(f.rule, f.mend) for f in findings] == [("uncounted-resource", "requests.nvidia.com/mig-1g.10gb as well")]


def test_resources_that_no_node_offers() -> None:
    """`nvidia.com/gpus` is a slip whatever the nodes have; a usual name is judged by the nodes, unless it is 0."""
    slip = quota(hard={"requests.nvidia.com/gpus": "8"})
    (finding,) = found(QuotaObjects(quotas=(slip,)))
    assert (finding.rule, finding.mend) == ("unknown-resource", f"{REQUESTS}, if that is meant")
    mig = "requests.nvidia.com/mig-1g.10gb"
    offered = {GPU: Decimal(8)}
    assert rules(quota(hard={REQUESTS: "8", mig: "7"})) == []
    assert rules(quota(hard={REQUESTS: "8", mig: "7"}), allocatable=offered) == ["unknown-resource"]
    assert rules(quota(hard={REQUESTS: "8", mig: "0"}), allocatable=offered) == []
    assert rules(quota(hard={REQUESTS: "8", mig: "7"}), allocatable={}) == []


def test_a_ceiling_is_no_guarantee() -> None:
    """An info; not where a guarantee is written down, or where the quota is one by policy."""
    bare = QuotaObjects(quotas=(quota(hard={REQUESTS: "8"}),))
    assert [finding.rule for finding in lint(bare)] == ["ceiling-only"]
    assert lint(bare, "quota") == []
    assert lint(QuotaObjects(quotas=(quota(hard={REQUESTS: "8"}, annotations={GUARANTEED: "1"}),))) == []


@pytest.mark.parametrize(
    ("hard", "annotations", "mended", "guaranteed"),
    [
        ({REQUESTS: "8", LIMITS: "32"}, {}, {REQUESTS: "32"}, "8"),
        ({REQUESTS: "8", LIMITS: "32"}, {GUARANTEED: "4"}, {REQUESTS: "8"}, "4"),
        ({REQUESTS: "8", LIMITS: "4"}, {}, {REQUESTS: "8"}, None),
        ({LIMITS: "32", GPU: "8"}, {}, {REQUESTS: "32"}, "8"),
        ({LIMITS: "4"}, {}, {REQUESTS: "4"}, None),
        ({GPU: "4", "pods": "9"}, {}, {REQUESTS: "4", "pods": "9"}, None),
        ({f"request.{GPU}": "4", REQUESTS: "8"}, {}, {REQUESTS: "8"}, None),
        ({"requests.a/b": "1", "limits.a/b": "2"}, {}, {"requests.a/b": "2"}, None),
    ],
)
def test_dead_keys_mended(
    hard: dict[str, str], annotations: dict[str, str], mended: dict[str, str], guaranteed: str | None
) -> None:
    """A pair below and above is guarantee and cap; otherwise what Kubernetes enforces stays as it is."""
    objects = QuotaObjects(quotas=(quota(hard=hard, annotations=annotations),))
    (fixed,) = after_fix(objects).quotas
    assert (fixed.hard, fixed.annotations.get(GUARANTEED)) == (mended, guaranteed)


def test_a_class_is_renamed_only_where_one_is_meant() -> None:
    """`critical` ends two names here, and `urgent` none: they stay, and stay findings."""
    classes = (*CLASSES, PriorityClass(name="web-critical"))
    scoped = quota(hard={REQUESTS: "8"}, terms=in_classes("critical", "urgent", "high"))
    fixed = after_fix(QuotaObjects(quotas=(scoped,), priority_classes=classes))
    assert fixed.quotas[0].terms == in_classes("critical", "urgent", "ml-high")
    assert "unknown-class" in [finding.rule for finding in found(fixed)]


def test_without_classes_in_sight_no_name_is_mended() -> None:
    """Nor are other scopes touched."""
    terms = (*in_classes("high"), ScopeTerm(scope="NotTerminating"))
    fixed = after_fix(QuotaObjects(quotas=(quota(hard={LIMITS: "8"}, terms=terms),)))
    assert fixed.quotas[0].terms == terms


def test_a_hole_beside_pods_without_a_class_is_closed_by_name() -> None:
    """Where pods without a class are counted, the others are named with In."""
    scoped = quota(hard={REQUESTS: "8"}, terms=in_classes("ml-low", operator="NotIn"))
    (mended,) = mend(QuotaObjects(quotas=(scoped,), priority_classes=CLASSES))
    assert isinstance(mended.object, QuotaSpec)
    assert (mended.object.terms, mended.object.hard) == (in_classes("ml-low"), {REQUESTS: "0"})


def test_no_hole_is_closed_where_no_class_is_covered() -> None:
    """A quota of 0 for everybody is not what anybody meant."""
    scoped = quota(hard={REQUESTS: "8"}, terms=in_classes("urgent"))
    assert mend(QuotaObjects(quotas=(scoped,), priority_classes=CLASSES)) == []


def test_what_kubectl_keeps_for_itself_is_left_out() -> None:
    """It holds the object as it was."""
    kept = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "x"}
    (fixed,) = mend(QuotaObjects(quotas=(quota(hard={LIMITS: "1"}, annotations=kept),)))
    assert fixed.object.annotations == {"note": "x"}


KEYS = st.sampled_from(
    [
        REQUESTS,
        LIMITS,
        GPU,
        f"request.{GPU}",
        "requests.nvidia.com/mig-1g.10gb",
        "pods",
        "services",
        "count/jobs.batch",
    ]
)
TERMS = st.lists(
    st.sampled_from(
        [
            *in_classes("critical"), *in_classes("ml-high", "critical"), *in_classes("ml-low", operator="NotIn"),
            *in_classes(operator="Exists"), *in_classes(operator="DoesNotExist"),
        ]
    ),
    max_size=2,
)  # fmt: skip
QUOTAS = st.builds(
    quota,
    name=st.sampled_from(["a", "b"]),
    hard=st.dictionaries(KEYS, st.sampled_from(["0", "0.5", "4", "8", "32"]), min_size=1),
    terms=TERMS.map(tuple),
)


@given(quotas=st.lists(QUOTAS, max_size=2, unique_by=lambda each: each.name))
def test_mending_removes_errors_and_is_done_once(quotas: list[QuotaSpec]) -> None:
    """What is mended has no errors of the keys, and there is nothing more to mend."""
    once = after_fix(QuotaObjects(quotas=tuple(quotas), priority_classes=CLASSES))
    twice = {"unclear-plan"} if len(quotas) > 1 else set()  # two pairs of one namespace stay two
    assert {finding.rule for finding in found(once)} <= {"uncovered-class"} | twice
    assert mend(once) == []
