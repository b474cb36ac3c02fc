"""Reports on quotas as samples."""

from __future__ import annotations

from fractions import Fraction

from chargeback.core.owners.owners import Owner
from chargeback.core.plans.book import PlanVersion
from chargeback.core.pods import Ask, Pod
from chargeback.core.quota.idle_shares import IdleShare
from chargeback.core.quota.report import QuotaFacts, quota_report
from chargeback.core.quota.specs import QuotaSpec
from chargeback.samples.quotas import QuotaSamples

SLICE = "nvidia.com/mig-3g.40gb"
OWNERS = {"team": Owner(namespace="team", from_ms=0, cost_center="rd", team="red", version=1)}


def samples(facts: QuotaFacts) -> QuotaSamples:
    return QuotaSamples(report=quota_report(facts, 0), cluster="c", owners=OWNERS)


def test_a_plan_of_a_mig_profile_lies_on_its_own_key() -> None:
    """Guarantee and cap have the labels of its hard and used, so that they can be compared."""
    quota = QuotaSpec(namespace="team", name="gpu", hard={f"requests.{SLICE}": "8"})
    of = samples(
        QuotaFacts(quotas=[quota], filed=[PlanVersion(namespace="team", resource=SLICE, guaranteed=4, cap=6)])
    )
    labels = ("c", "team", "rd", "red", "gpu", f"requests.{SLICE}", "true")
    assert list(of.plans("guaranteed")) == [(labels, 4.0)]
    assert list(of.plans("cap")) == [(labels, 6.0)]
    assert [key for key, _ in of.keys(lambda use: use.hard)] == [labels]


def test_what_counts_against_a_plan_without_a_quota() -> None:
    """Under the labels of its cap."""
    pod = Pod(namespace="team", name="a", uid="a", node="n1", asks=(Ask(container="main", resource=SLICE, count=3),))
    of = samples(QuotaFacts(pods=[pod], filed=[PlanVersion(namespace="team", resource=SLICE, cap=2)]))
    labels = ("c", "team", "rd", "red", "", f"requests.{SLICE}", "false")
    assert (list(of.counted()), list(of.plans("cap"))) == ([(labels, 3.0)], [(labels, 2.0)])
    assert list(samples(QuotaFacts(filed=[PlanVersion(namespace="team", resource=SLICE, cap=2)])).counted()) == []


def test_what_counts_against_a_plan_on_a_quota_that_does_not_count_its_gpus() -> None:
    """A quota that bears a cap in an annotation, and a key which Kubernetes ignores, or none of GPUs at all."""
    asks = (Ask(container="main", resource="nvidia.com/gpu", count=3),)
    pod = Pod(namespace="team", name="a", uid="a", node="n1", asks=asks)
    labels = ("c", "team", "rd", "red", "gpu", "requests.nvidia.com/gpu", "false")
    for hard in ({"limits.nvidia.com/gpu": "8"}, {"requests.cpu": "64"}):
        quota = QuotaSpec(namespace="team", name="gpu", hard=hard, annotations={"gpu-chargeback/cap-gpus": "2"})
        of = samples(QuotaFacts(quotas=[quota], pods=[pod]))
        assert list(of.plans("cap")) == [(labels, 2.0)]
        assert (labels, 3.0) in list(of.counted())


def test_idle_time_of_a_namespace_without_a_quota() -> None:
    """Where its usage is known."""
    known = IdleShare(held_ms=Fraction(4), known_ms=Fraction(2), idle_ms=Fraction(1))
    unknown = IdleShare(held_ms=Fraction(4), known_ms=Fraction(0), idle_ms=Fraction(0))
    of = samples(QuotaFacts(idle={"team": known, "other": unknown}))
    assert list(of.idle()) == [(("c", "team", "rd", "red"), 0.5)]
