"""Rules about plans, nodes and namespaces; no cluster needed."""

from __future__ import annotations

from decimal import Decimal

from chargeback.core.owners.owners import Namespace
from chargeback.core.quota.lint import lint
from chargeback.core.quota.resources import CAP, GUARANTEED
from chargeback.core.quota.specs import QuotaObjects
from tests.chargeback.core.quota.linting import GPU, LIMITS, REQUESTS, found, quota, rules


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
    profiles = ("1g.24gb.gfx", "1g.24gb.me.all", "2g.48gb-me", "1g.10gb.me.shared")
    assert rules(quota(hard={REQUESTS: "8"} | {f"requests.nvidia.com/mig-{name}": "4" for name in profiles})) == []


def test_a_ceiling_is_no_guarantee() -> None:
    """An info; not where a guarantee is written down, or where the quota is one by policy."""
    bare = QuotaObjects(quotas=(quota(hard={REQUESTS: "8"}),))
    assert [finding.rule for finding in lint(bare)] == ["ceiling-only"]
    assert lint(bare, "quota") == []
    assert lint(QuotaObjects(quotas=(quota(hard={REQUESTS: "8"}, annotations={GUARANTEED: "1"}),))) == []
