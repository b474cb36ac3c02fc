"""What the aggregator's metrics are made of: how everything stands at one instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chargeback.core.budgets import BudgetUse
from chargeback.core.hours import local_day, month_after
from chargeback.core.nodes import UnmeteredNode
from chargeback.core.owners.owners import Owner
from chargeback.core.quota.report import QuotaReport
from chargeback.core.totals import Total
from chargeback.samples.quotas import QuotaSamples
from chargeback.store.months import CLOSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the metrics are made of, at one instant.

    periods      totals of today, yesterday, month, last_month
    budgets      what became of those of the current month
    months       the state of each that has lines or was drafted
    differences  by cluster and kind, ms of slots in which the two meters differ
    problems     by cluster and kind, how many there are
    """

    periods: Mapping[str, list[Total]] = field(default_factory=dict)
    currency: str = ""
    quotas: QuotaReport = field(default_factory=QuotaReport)
    cluster: str = ""
    owners: Mapping[str, Owner] = field(default_factory=dict)
    lookalikes: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    budgets: Sequence[BudgetUse] = ()
    months: Mapping[str, str] = field(default_factory=dict)
    timezone: str = "UTC"
    backlog: Mapping[str, int] = field(default_factory=dict)
    plan_backlog: Mapping[str, int] = field(default_factory=dict)
    conservation_error_ms: Mapping[str, int] = field(default_factory=dict)
    differences: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    problems: Mapping[tuple[str, str], int] = field(default_factory=dict)
    unmetered: Sequence[UnmeteredNode] = ()
    last_pushes: list[tuple[str, str, int]] = field(default_factory=list)
    refused: Mapping[tuple[str, str], int] = field(default_factory=dict)
    accepted: Mapping[str, int] = field(default_factory=dict)
    tables_read_ms: Mapping[str, int] = field(default_factory=dict)
    rendered_ms: int = 0

    @property
    def unclosed(self) -> list[Sequence[Total]]:
        """Totals of this month; and of the last, until it is closed."""
        last = month_after(local_day(self.rendered_ms, self.timezone).isoformat()[:7], -1)
        names = ("month",) if self.months.get(last) == CLOSED else ("month", "last_month")
        return [self.periods.get(name, []) for name in names]

    @property
    def quota_samples(self) -> QuotaSamples:
        return QuotaSamples(report=self.quotas, cluster=self.cluster, owners=self.owners)
