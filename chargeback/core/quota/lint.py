"""The laws of `chargeback quota lint`: what a cluster really does with the quotas that people wrote.

A rule is a row of RULES: its name, how bad it is, and one function that yields what it found. The facts are a real
API server's answers; `tests/cluster/test_quota_lint.py` asks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chargeback.core.quota import claim_rules, cluster_rules, limit_rules, rules
from chargeback.core.quota.found import Found
from chargeback.core.quota.specs import QuotaObjects

# It does not do what it says; it leaves a hole; it may surprise.
SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding(Found):
    severity: str
    rule: str


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    severity: str
    find: Callable[[QuotaObjects, str], Iterator[Found]]


RULES = (
    Rule("dead-key", "error", rules.dead_keys),
    Rule("no-key", "error", rules.no_keys),
    Rule("refused-key", "error", rules.refused_keys),
    Rule("uncounted-key", "error", rules.uncounted_keys),
    Rule("unknown-class", "error", rules.unknown_classes),
    Rule("fractional-gpus", "error", rules.fractional_gpus),
    Rule("injected-gpus", "error", limit_rules.injected_gpus),
    Rule("refused-pods", "error", limit_rules.refused_pods),
    Rule("refused-containers", "error", limit_rules.refused_containers),
    Rule("unequal-gpus", "error", limit_rules.unequal_gpus),
    Rule("oversold-guarantees", "error", cluster_rules.oversold_guarantees),
    Rule("guarantee-above-cap", "error", cluster_rules.guarantees_above_cap),
    Rule("unclear-plan", "error", cluster_rules.unclear_plans),
    Rule("unreadable-number", "error", rules.unreadable_numbers),
    Rule("unknown-excluded-class", "warning", rules.unknown_excluded_classes),
    Rule("uncovered-class", "warning", rules.uncovered_classes),
    Rule("uncounted-claims", "warning", claim_rules.uncounted_claims),
    Rule("default-gpus", "warning", limit_rules.default_gpus),
    Rule("uncounted-resource", "warning", cluster_rules.uncounted_resources),
    Rule("unknown-resource", "warning", cluster_rules.unknown_resources),
    Rule("no-cost-center", "warning", cluster_rules.no_cost_center),
    Rule("no-gpu-quota", "warning", cluster_rules.no_gpu_quota),
    Rule("low-count", "warning", rules.low_counts),
    Rule("ceiling-only", "info", cluster_rules.ceilings_only),
    Rule("must-say", "info", limit_rules.must_say),
)


def lint(objects: QuotaObjects, plans_from: str = "annotations") -> list[Finding]:
    """Every finding, the worst first."""
    found = [
        Finding(
            severity=rule.severity,
            rule=rule.name,
            object=each.object,
            field=each.field,
            what=each.what,
            mend=each.mend,
        )
        for rule in RULES
        for each in rule.find(objects, plans_from)
    ]
    return sorted(found, key=lambda f: (SEVERITIES.index(f.severity), f.object, f.field, f.rule))
