"""A look at the cluster's quotas as its tables have them now, and what only time tells: trends, what lies idle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from chargeback.cluster.quota_facts import NEEDED, TABLES, to_facts
from chargeback.core.plans.book import PlanVersion
from chargeback.core.quota.idle_shares import IdleShare
from chargeback.core.quota.report import QuotaReport, quota_report
from chargeback.core.quota.saturation import Samples
from chargeback.tasks.follow_cluster import ClusterTables

Key = tuple[str, str, str]


@dataclass(slots=True)
class QuotaTrends:
    """Written by the one task that renders metrics; readers take whole values, which are put in place at once.

    saturation_s  seconds until a key is full, by (namespace, quota, key)
    idle          of the running hours, by namespace; None: not looked at yet
    filed         plans that the ledger has of a plan file, in force when it was looked at
    """

    saturation_s: Mapping[Key, Fraction] = field(default_factory=dict)
    idle: Mapping[str, IdleShare] | None = None
    filed: Sequence[PlanVersion] = ()
    _samples: Samples[Key] = field(default_factory=Samples)

    def take(self, report: QuotaReport, now_ms: int) -> QuotaReport:
        """Note how much is used now; the report with what follows from it."""
        taken = {use.key: use.taken for use in report.uses if use.taken is not None}
        self._samples.add(taken, now_ms)
        forecasts = {
            use.key: self._samples.saturation_s(use.key, use.hard, taken[use.key])
            for use in report.uses
            if use.key in taken and use.hard > 0
        }
        self.saturation_s = {key: seconds for key, seconds in forecasts.items() if seconds is not None}
        return replace(report, saturation_s=self.saturation_s)


def look(tables: ClusterTables, plans_from: str, trends: QuotaTrends, now_ms: int) -> QuotaReport:
    """now_ms: our clock, where the API server's is not known."""
    found: dict[str, list[Any]] = {NEEDED: []}
    unknown: dict[str, str] = {}
    by_name = tables.by_name()
    for name in TABLES.values():
        table = by_name[name]
        if table.read_ms is None:
            unknown[name] = table.lack or "not read yet, or there is no API to ask"
        else:
            found[name] = table.values()
    facts = to_facts(
        found,
        unknown,
        plans_from=plans_from,
        filed=trends.filed,
        idle=trends.idle,
        saturation_s=trends.saturation_s,
    )
    return quota_report(facts, tables.events.read_ms or now_ms)
