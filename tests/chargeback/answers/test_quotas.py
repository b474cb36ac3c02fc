"""What is answered of quotas and plans as JSON."""

from __future__ import annotations

from chargeback.answers.quotas import report_json
from chargeback.core.plans.book import PlanVersion
from chargeback.core.quota.report import QuotaFacts, quota_report
from chargeback.core.quota.specs import GPU

SLICE = "nvidia.com/mig-3g.40gb"


def test_plans_of_whole_cards_and_of_parts() -> None:
    """Each of a namespace, by the resource that it is about."""
    whole = PlanVersion(namespace="team", resource=GPU, guaranteed=2, cap=4)
    part = PlanVersion(namespace="team", resource=SLICE, guaranteed=4, cap=8)
    (both,) = report_json(quota_report(QuotaFacts(pods=[], filed=[whole, part]), 0))["namespaces"]
    assert (both["plan"]["resource"], both["plan"]["cap"], both["plan"]["held"]) == (GPU, "4", "0")
    assert [(each["resource"], each["guaranteed"], each["held"]) for each in both["part_plans"]] == [
        (SLICE, "4", "0")
    ]
    (parts,) = report_json(quota_report(QuotaFacts(filed=[part]), 0))["namespaces"]
    assert (parts["plan"], [each["held"] for each in parts["part_plans"]]) == (None, [None])
