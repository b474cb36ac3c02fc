"""What is said of a cluster's GPU quotas, from what is known of it."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

from chargeback.core.claims import Claim, ClaimRequest
from chargeback.core.owners.owners import Namespace
from chargeback.core.plans.book import PlanVersion
from chargeback.core.pods import Ask, Pod
from chargeback.core.quota.idle_shares import IdleShare
from chargeback.core.quota.other_keys import KeyUse
from chargeback.core.quota.refusals import STANDS_MS, Refusal, RefusedKey
from chargeback.core.quota.report import NamespaceQuotas, QuotaFacts, WaitingPod, quota_report
from chargeback.core.quota.resources import GUARANTEED
from chargeback.core.quota.specs import QuotaSpec, ScopeTerm
from chargeback.core.quota.uses import QuotaUse

GPU = "nvidia.com/gpu"
REQUESTS, LIMITS, BARE = f"requests.{GPU}", f"limits.{GPU}", GPU
DEVICES = "gpu.nvidia.com.deviceclass.resource.k8s.io/devices"


def quota(hard: dict[str, str], used: dict[str, str] | None = None, **fields: Any) -> QuotaSpec:
    return QuotaSpec(**{"namespace": "team", "name": "gpu", "hard": hard, "used": used or {}} | fields)


def pod(name: str, gpus: int, **fields: Any) -> Pod:
    asks = (Ask(container="main", resource=GPU, count=gpus),)
    return Pod(**{"namespace": "team", "name": name, "uid": name, "node": "n1", "asks": asks} | fields)


def refusal(name: str, *keys: RefusedKey, **fields: Any) -> Refusal:
    values = {"namespace": "team", "kind": "ReplicaSet", "name": name, "keys": keys, "count": 1}
    return Refusal(**values | {"first_ms": 0, "last_ms": 0} | fields)


def only(facts: QuotaFacts, now_ms: int = 0) -> NamespaceQuotas:
    (found,) = quota_report(facts, now_ms).namespaces
    return found


def by_key(found: NamespaceQuotas) -> dict[str, QuotaUse]:
    return {use.resource: use for use in found.uses}


def test_own_count_where_kubernetes_has_none() -> None:
    """limits. and bare names: the devices of all pods that are not over, pending ones included."""
    pods = [pod("a-0", 6), pod("a-1", 2, node=None), pod("over", 8, terminal=True)]
    found = by_key(
        only(QuotaFacts(quotas=[quota({REQUESTS: "8", LIMITS: "4", BARE: "1"}, {REQUESTS: "6"})], pods=pods))
    )
    assert {key: (use.hard, use.used, use.counted, use.taken, use.counted_by) for key, use in found.items()} == {
        REQUESTS: (8, 6, 8, 6, "kubernetes"),
        LIMITS: (4, None, 8, 8, "us"),
        BARE: (1, None, 8, 8, "us"),
    }
    assert (found[REQUESTS].differs, found[LIMITS].differs) == (True, False)


def test_a_pod_that_lingers_counts_until_its_grace_is_over() -> None:
    """As Kubernetes counts: one that is being deleted on a node that was lost keeps nobody from taking its place."""
    facts = QuotaFacts(quotas=[quota({LIMITS: "8"})], pods=[pod("a-0", 8, lingers_from_ms=1000), pod("a-1", 8)])
    counts = [only(facts, now_ms).uses[0].counted for now_ms in (1000, 1001)]
    assert counts == [16, 8]


def test_unknown_pods_are_not_no_pods() -> None:
    """Without a list of pods nothing is counted, held or waiting; with an empty one it is zero."""
    quotas = [quota({REQUESTS: "8", LIMITS: "4"})]
    found = only(QuotaFacts(quotas=quotas))
    assert [(use.counted, use.holders, use.taken, use.counted_by) for use in found.uses] == [(None,) * 4] * 2
    assert (found.waiting, found.refusals, found.idle) == (None, None, None)
    found = only(QuotaFacts(quotas=quotas, pods=[], refusals=[]))
    assert [(use.counted, use.holders) for use in found.uses] == [(0, ()), (0, ())]
    assert (found.waiting, found.refusals) == ((), ())


def test_scoped_quotas_count_their_own_pods() -> None:
    """Each its classes; what neither takes is in neither."""
    high = (ScopeTerm(scope="PriorityClass", operator="In", values=("high",)),)
    quotas = [
        quota({LIMITS: "4"}, name="high", terms=high),
        quota({LIMITS: "4"}, name="long", scopes=("NotTerminating",)),
    ]
    pods = [pod("a", 1, priority_class="high"), pod("b", 2, has_deadline=True), pod("c", 4)]
    assert [(use.quota, use.counted) for use in only(QuotaFacts(quotas=quotas, pods=pods)).uses] == [
        ("high", 1),
        ("long", 5),
    ]


def test_status_hard_is_what_holds() -> None:
    """A raised or lowered quota lags until the controller has taken it in."""
    found = only(QuotaFacts(quotas=[quota({REQUESTS: "16"}, {REQUESTS: "8"}, status_hard={REQUESTS: "8"})]))
    assert (found.uses[0].hard, found.uses[0].used) == (8, 8)


def test_claimed_devices() -> None:
    """Kubernetes counts them; of a resource that a DeviceClass stands in for we see a part, and say nothing."""
    quotas = [quota({DEVICES: "4", REQUESTS: "4"}, {DEVICES: "3", REQUESTS: "3"})]
    found = by_key(only(QuotaFacts(quotas=quotas, pods=[pod("a", 1)], extended=[("gpu.nvidia.com", GPU)])))
    assert [(use.used, use.counted, use.enforced) for use in found.values()] == [(3, None, True)] * 2
    claims = [
        Claim(namespace="team", name="c", uid="c", requests=(ClaimRequest(classes=("gpu.nvidia.com",), count=3),))
    ]
    found = by_key(only(QuotaFacts(quotas=quotas, pods=[pod("a", 1)], claims=claims)))
    assert (found[DEVICES].counted, found[REQUESTS].counted) == (3, 1)


def test_the_plan_lies_on_the_key_of_its_quota() -> None:
    """And on the namespace, should it have no quota at all."""
    annotated = quota({REQUESTS: "32", LIMITS: "64"}, annotations={GUARANTEED: "8"})
    lone = Namespace(name="lone", annotations={GUARANTEED: "2"})
    report = quota_report(QuotaFacts(quotas=[annotated], namespaces=[lone]), 0)
    assert [(use.resource, use.guaranteed, use.cap) for use in report.uses] == [
        (LIMITS, None, None),
        (REQUESTS, 8, 32),
    ]
    assert [(each.plan.namespace, each.plan.guaranteed) for each in report.plans] == [("lone", 2), ("team", 8)]


def test_other_keys_the_fullest_first() -> None:
    """Of all quotas of a namespace that has a GPU quota, and of no other."""
    quotas = [
        quota({REQUESTS: "8", "pods": "10", "count/jobs.batch": "0"}, {"pods": "9", "count/jobs.batch": "0"}),
        quota({"requests.storage": "1Ti", "services": "4"}, {"requests.storage": "512Gi"}, name="objects"),
        quota({"pods": "1"}, {"pods": "1"}, namespace="web"),
    ]
    found = only(QuotaFacts(quotas=quotas))
    assert [(key.key, key.fullness) for key in found.others] == [
        ("count/jobs.batch", 1),
        ("pods", Decimal("0.9")),
        ("requests.storage", Decimal("0.5")),
        ("services", None),
    ]
    assert found.closest == KeyUse(namespace="team", quota="gpu", key="pods", hard=Decimal(10), used=Decimal(9))


def test_no_key_is_closest_where_none_is_known() -> None:
    """A bare GPU quota has no other key."""
    assert only(QuotaFacts(quotas=[quota({REQUESTS: "8"})])).closest is None


def test_refusals_that_stand() -> None:
    """A workload of GPUs is told by the key that refuses, else by its pods that were admitted; else nobody knows."""
    gpus = RefusedKey(quota="gpu", key=REQUESTS, requested="3", used="6", limited="8")
    pods_key = RefusedKey(quota="gpu", key="pods", requested="1", used="9", limited="9")
    refusals = [
        refusal("train", gpus, gpus=True, last_ms=5),
        refusal("web-7d4b9c6f5", pods_key, last_ms=5),
        refusal("cron", pods_key, last_ms=5),
        refusal("old", gpus, last_ms=5 - STANDS_MS),
        refusal("elsewhere", gpus, namespace="web", last_ms=5),
    ]
    facts = QuotaFacts(quotas=[quota({REQUESTS: "8"})], refusals=refusals, pods=[pod("web-7d4b9c6f5-x2x9k", 1)])
    found = only(facts, now_ms=5)
    assert found.refusals is not None
    assert [(each.name, each.gpus) for each in found.refusals] == [
        ("cron", None),
        ("train", True),
        ("web-7d4b9c6f5", True),
    ]


def test_a_workload_that_was_admitted_since_waits_no_more() -> None:
    """A pod of it that was made after the last refusal ends it; one of the same second may be of the same try."""
    key = RefusedKey(quota="gpu", key=REQUESTS, requested="3", used="6", limited="8")
    refusals = [refusal("train", key, last_ms=5000), refusal("web-7d4b9c6f5", key, last_ms=5000)]
    pods = [
        pod("train-x2x9k", 3, created_ms=6000),
        pod("web-7d4b9c6f5-x2x9k", 3, created_ms=5000),
        pod("web-5c6d7f8b9-x2x9k", 3, created_ms=9000),
    ]
    facts = QuotaFacts(quotas=[quota({REQUESTS: "8"})], refusals=refusals, pods=pods)
    assert [each.name for each in only(facts, now_ms=9000).refusals or ()] == ["web-7d4b9c6f5"]


def test_pods_that_wait_for_the_scheduler() -> None:
    """The oldest first, with its words."""
    pods = [
        pod("late", 1, node=None, created_ms=9),
        pod("early", 2, node=None, created_ms=3, waits="0/3 nodes are available"),
        pod("runs", 1),
        pod("over", 1, node=None, terminal=True),
    ]
    assert only(QuotaFacts(quotas=[quota({REQUESTS: "8"})], pods=pods)).waiting == (
        WaitingPod(name="early", requests={GPU: 2}, since_ms=3, waits="0/3 nodes are available"),
        WaitingPod(name="late", requests={GPU: 1}, since_ms=9),
    )


def test_problems_are_named_once() -> None:
    """What cannot be read is absent, never 0."""
    quotas = [quota({REQUESTS: "many", LIMITS: "4"}, {REQUESTS: "few"}, annotations={GUARANTEED: "all"})]
    report = quota_report(QuotaFacts(quotas=quotas, plans_from="quota"), 0)
    assert [use.resource for use in report.uses] == [LIMITS]
    assert [str(problem) for problem in report.problems] == [
        f"ResourceQuota team/gpu: {GUARANTEED}: 'all': want a whole number of devices such as 8",
        f"ResourceQuota team/gpu: {REQUESTS}: 'many': want a Kubernetes quantity such as 8",
    ]


def test_what_is_idle_and_what_is_unknown_is_passed_on() -> None:
    """By namespace."""
    share = IdleShare(held_ms=Fraction(4), known_ms=Fraction(2), idle_ms=Fraction(1))
    facts = QuotaFacts(
        quotas=[quota({REQUESTS: "8"})],
        idle={"team": share},
        saturation_s={("team", "gpu", REQUESTS): Fraction(60)},
        offered={GPU: 16},
        unknown={"events": "403"},
    )
    report = quota_report(facts, 0)
    assert report.namespaces[0].idle == share
    assert (report.saturation_s[report.uses[0].key], report.offered, report.unknown) == (
        60,
        {GPU: 16},
        {"events": "403"},
    )


def test_the_report_of_one_namespace() -> None:
    """Its problems alone, too."""
    quotas = [quota({REQUESTS: "many"}), quota({REQUESTS: "8"}, namespace="web", annotations={GUARANTEED: "x"})]
    report = quota_report(QuotaFacts(quotas=quotas, pods=[pod("a", 3, namespace="web")]), 0).of("web")
    (web,) = report.namespaces
    assert (web.namespace, web.held, [use.counted for use in web.uses]) == ("web", 3, [3])
    assert [problem.namespace for problem in report.problems] == ["web"]


def test_plans_of_parts_stand_beside_that_of_whole_cards() -> None:
    """A plan file's, on the quota that limits the profile, where one does; and how many are held either way."""
    key = "nvidia.com/mig-3g.40gb"
    filed = [
        PlanVersion(namespace="team", resource=GPU, cap=24),
        PlanVersion(namespace="team", resource=key, guaranteed=4),
        PlanVersion(namespace="bare", resource=key, guaranteed=1, cap=2),
    ]
    quotas = [quota({REQUESTS: "16", f"requests.{key}": "8"})]
    slices = Pod(namespace="bare", name="a", uid="a", node="n1", asks=(Ask(container="main", resource=key, count=3),))
    report = quota_report(QuotaFacts(quotas=quotas, pods=[slices], filed=filed), 0)
    assert [
        (each.plan.namespace, each.plan.resource, each.plan.quota, each.plan.guaranteed, each.plan.cap, each.held)
        for each in report.plans
    ] == [("bare", key, None, 1, 2, 3), ("team", GPU, "gpu", None, 24, 0), ("team", key, "gpu", 4, 8, 0)]
    assert {use.resource: (use.guaranteed, use.cap) for use in report.uses} == {
        REQUESTS: (None, 24),
        f"requests.{key}": (4, 8),
    }


def test_idle_time_is_of_namespaces_without_a_quota_too() -> None:
    share = IdleShare(held_ms=Fraction(4), known_ms=Fraction(2), idle_ms=Fraction(1))
    report = quota_report(QuotaFacts(quotas=[quota({REQUESTS: "8"})], idle={"bare": share}), 0)
    assert (report.idle, report.of("team").idle, report.of("bare").idle) == ({"bare": share}, {}, {"bare": share})
