"""The rules of the quota lint about a quota's own text, one by one; no cluster needed."""

from __future__ import annotations

import pytest

from chargeback.core.quota.lint import RULES, SEVERITIES, lint
from chargeback.core.quota.specs import PriorityClass, QuotaObjects, ScopeTerm
from tests.chargeback.core.quota.linting import (
    CLASSES,
    GPU,
    LIMITS,
    REQUESTS,
    after_fix,
    found,
    in_classes,
    quota,
    rules,
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


@pytest.mark.parametrize("key", ["gpu", "requests.gpu", "services.x", "limits.storage"])
def test_keys_that_no_quota_can_have(key: str) -> None:
    """Names without a slash are a closed list."""
    assert rules(quota(hard={key: "4"})) == ["no-key"]


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


def test_quantities_that_are_none() -> None:
    """In a file, for the API server takes none."""
    assert rules(quota(hard={"requests.cpu": "many"})) == ["unreadable-number"]
