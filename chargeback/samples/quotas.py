"""A report on quotas as samples of metrics: labels and a number; what is not known gives none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from chargeback.core.owners.owners import Owner
from chargeback.core.quota.report import QuotaReport
from chargeback.core.quota.specs import REQUESTS
from chargeback.core.quota.uses import QuotaUse

Sample = tuple[tuple[str, ...], float]

NAMESPACE_LABELS = ("cluster", "namespace", "cost_center", "team")
KEY_LABELS = (*NAMESPACE_LABELS, "resourcequota", "resource")
QUOTA_LABELS = (*KEY_LABELS, "enforced")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaSamples:
    """Of one cluster, with the owners of its namespaces."""

    report: QuotaReport
    cluster: str
    owners: Mapping[str, Owner]

    def keys(self, read: Callable[[QuotaUse], Decimal | None]) -> Iterator[Sample]:
        """A number of each GPU key, by QUOTA_LABELS."""
        for use in self.report.uses:
            if (value := read(use)) is not None:
                yield (*self._labels(*use.key), _answer(use.enforced)), float(value)

    def counted(self) -> Iterator[Sample]:
        """Our own count of each GPU key; and of what plans count that lie on no quota, or on one without the key."""
        yield from self.keys(lambda use: use.counted)
        written = {use.key for use in self.report.uses}
        for each in self.report.plans:
            key = (each.plan.namespace, each.plan.quota or "", REQUESTS + each.plan.resource)
            if key not in written and each.held is not None:
                yield (*self._labels(*key), _answer(enforced=False)), float(each.held)

    def saturations(self) -> Iterator[Sample]:
        for use in self.report.uses:
            if (seconds := self.report.saturation_s.get(use.key)) is not None:
                yield (*self._labels(*use.key), _answer(use.enforced)), float(seconds)

    def plans(self, field: str) -> Iterator[Sample]:
        """A number of each plan, with the labels of the quota that it lies on; of none, where it lies on none."""
        enforced = {use.key for use in self.report.uses if use.enforced}
        for each in self.report.plans:
            plan = each.plan
            value: Decimal | None = getattr(plan, field)
            if value is not None:
                key = (plan.namespace, plan.quota or "", REQUESTS + plan.resource)
                yield (*self._labels(*key), _answer(key in enforced)), float(value)

    def refusals(self) -> Iterator[Sample]:
        """By KEY_LABELS: zero for each GPU key where events are known, so that the first refusal is a rise."""
        for found in self.report.namespaces:
            if found.refusals is None:
                continue
            counts = {(use.quota, use.resource): 0 for use in found.uses if use.enforced}
            for refusal in found.refusals:
                for key in {(each.quota, each.key) for each in refusal.keys}:
                    counts[key] = counts.get(key, 0) + 1
            for key, count in counts.items():
                yield self._labels(found.namespace, *key), float(count)

    def waiting(self) -> Iterator[Sample]:
        """Pods of each namespace where pods are known, by NAMESPACE_LABELS."""
        for found in self.report.namespaces:
            if found.waiting is not None:
                yield self._owned(found.namespace), float(len(found.waiting))

    def idle(self) -> Iterator[Sample]:
        """Of each namespace whose usage is known, by NAMESPACE_LABELS."""
        for namespace, share in self.report.idle.items():
            if share.ratio is not None:
                yield self._owned(namespace), float(share.ratio)

    def _labels(self, namespace: str, quota: str, resource: str) -> tuple[str, ...]:
        return (*self._owned(namespace), quota, resource)

    def _owned(self, namespace: str) -> tuple[str, ...]:
        owner = self.owners.get(namespace)
        return (
            self.cluster,
            namespace,
            (owner.cost_center if owner else None) or "",
            (owner.team if owner else None) or "",
        )


def _answer(enforced: bool) -> str:
    return "true" if enforced else "false"
