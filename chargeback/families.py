"""The aggregator's metrics: one table of families, rendered on our own beat. A scrape copies bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from chargeback.samples import budgets as budget_samples
from chargeback.samples import costs as cost_samples
from chargeback.samples import months as month_samples
from chargeback.samples.quotas import KEY_LABELS, NAMESPACE_LABELS, QUOTA_LABELS, Sample
from chargeback.standing import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily]
    name: str
    help: str
    labels: tuple[str, ...]
    read: Callable[[Standing], Iterable[Sample]]


def _by_cluster(values: Mapping[str, int], divisor: int = 1) -> Iterator[Sample]:
    return (((cluster,), value / divisor) for cluster, value in values.items())


FAMILIES = (
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_cost",
        help="Cost in units of the currency, rated hours and the provisional running ones. For bills see the CSV.",
        labels=(*cost_samples.LABELS, "currency"),
        read=lambda standing: cost_samples.costs(standing.periods, standing.currency),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_gpu_seconds",
        help="Whole-card seconds, held or not.",
        labels=cost_samples.LABELS,
        read=lambda standing: cost_samples.gpu_seconds(standing.periods),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_unpriced_gpu_seconds",
        help="Whole-card seconds without a price, of this month and, until it is closed, of the last.",
        labels=("cluster", "model"),
        read=lambda standing: cost_samples.unpriced(standing.unclosed),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_unowned_gpu_seconds",
        help="Whole-card seconds of no cost center, of this month and, until it is closed, of the last.",
        labels=("cluster", "namespace"),
        read=lambda standing: cost_samples.unowned(standing.unclosed),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_excess_gpu_seconds",
        help="Whole-card seconds beyond what cards have, of this month and, until it is closed, of the last.",
        labels=("cluster",),
        read=lambda standing: cost_samples.excess(standing.unclosed),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_budget",
        help="What a cost center may spend this month, in units of the currency.",
        labels=("cost_center", "currency"),
        read=lambda standing: budget_samples.amounts(standing.budgets, standing.currency),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_budget_spent",
        help="What it has spent of it, the provisional running hours included.",
        labels=("cost_center", "currency"),
        read=lambda standing: budget_samples.spent(standing.budgets, standing.currency),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_budget_forecast",
        help="What it will have spent at the month's end; low and high: two deviations. Absent for three days.",
        labels=("cost_center", "currency", "bound"),
        read=lambda standing: budget_samples.forecasts(standing.budgets, standing.currency),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_budget_threshold",
        help="Whether so many percent of the budget were reached this month: 1 if so, else 0.",
        labels=("cost_center", "threshold"),
        read=lambda standing: budget_samples.thresholds(standing.budgets),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_month_state",
        help="1 for the state that a month is in (open, draft, approved, closed), 0 for the others.",
        labels=("month", "state"),
        read=lambda standing: month_samples.states(standing.months),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_month_unclosed_seconds",
        help="Time since the end of the oldest month that is over and not closed; 0 where there is none.",
        labels=(),
        read=lambda standing: month_samples.unclosed_seconds(
            standing.months, standing.timezone, standing.rendered_ms
        ),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_quota_hard",
        help="Hard value of a ResourceQuota's GPU key; enforced=false: Kubernetes stores the key and ignores it.",
        labels=QUOTA_LABELS,
        read=lambda standing: standing.quota_samples.keys(lambda use: use.hard),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_quota_used",
        help="Use of the key: as Kubernetes counts it; where it never does (enforced=false), as we do.",
        labels=QUOTA_LABELS,
        read=lambda standing: standing.quota_samples.keys(lambda use: use.taken),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_quota_counted",
        help="Own count: devices of pods that match and are not over, pending too; for a plan on no quota, too.",
        labels=QUOTA_LABELS,
        read=lambda standing: standing.quota_samples.counted(),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_quota_guaranteed",
        help="Guaranteed devices of the namespace's plan.",
        labels=QUOTA_LABELS,
        read=lambda standing: standing.quota_samples.plans("guaranteed"),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_quota_cap",
        help="Most devices that the namespace's plan allows.",
        labels=QUOTA_LABELS,
        read=lambda standing: standing.quota_samples.plans("cap"),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_quota_saturation_seconds",
        help="Time until the key is full, by the trend of its use; 0: it is full. Absent where nothing rises.",
        labels=QUOTA_LABELS,
        read=lambda standing: standing.quota_samples.saturations(),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_quota_refusals",
        help="Workloads that wait because this key of the quota refuses their pods.",
        labels=KEY_LABELS,
        read=lambda standing: standing.quota_samples.refusals(),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_quota_waiting_pods",
        help="GPU pods that were admitted and wait for a node.",
        labels=NAMESPACE_LABELS,
        read=lambda standing: standing.quota_samples.waiting(),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_quota_idle_ratio",
        help="Part of the GPU time held this hour, and the last until it is rated, in which no process was busy.",
        labels=NAMESPACE_LABELS,
        read=lambda standing: standing.quota_samples.idle(),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_owner_lookalikes",
        help="Names of owners in use that differ from another only by case, - and _; `chargeback owners` names them.",
        labels=("field",),
        read=lambda standing: (
            ((name,), float(sum(map(len, groups)))) for name, groups in standing.lookalikes.items()
        ),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_rating_backlog",
        help="Node-hours that are due and not rated yet.",
        labels=("cluster",),
        read=lambda standing: _by_cluster(standing.backlog),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_plan_backlog",
        help="Hours whose plans are due and not settled yet.",
        labels=("cluster",),
        read=lambda standing: _by_cluster(standing.plan_backlog),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_conservation_error_seconds",
        help="Card seconds that the lines of rated hours have too many or too few. Anything but 0 is a defect.",
        labels=("cluster",),
        read=lambda standing: _by_cluster(standing.conservation_error_ms, 1000),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_meter_difference_seconds",
        help="Slot seconds of the last 24 rated hours in which the API and the agents differ, by kind of difference.",
        labels=("cluster", "kind"),
        read=lambda standing: (
            ((cluster, kind), ms / 1000) for cluster, of in standing.differences.items() for kind, ms in of.items()
        ),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_problems",
        help="What is wrong with the data of the last 24 hours, by kind; `chargeback status` names each.",
        labels=("cluster", "kind"),
        read=lambda standing: standing.problems.items(),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_unmetered_pods",
        help="GPU pods so far of a node that is there and whose agent never pushed: nobody is billed for them.",
        labels=("cluster", "node"),
        read=lambda standing: (((each.cluster, each.node), each.pods) for each in standing.unmetered),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_unmetered_devices",
        help="GPU devices that a node offers now and whose agent never pushed.",
        labels=("cluster", "node"),
        read=lambda standing: (((each.cluster, each.node), each.devices) for each in standing.unmetered),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_last_push_timestamp_seconds",
        help="When the node's agent pushed last; of nodes that the API has no more there is none.",
        labels=("cluster", "node"),
        read=lambda standing: (((cluster, node), at / 1000) for cluster, node, at in standing.last_pushes),
    ),
    Family(
        kind=CounterMetricFamily,
        name="chargeback_pushes_refused_total",
        help="Pushed bodies that were refused, by HTTP status and by the field that was wrong.",
        labels=("status", "field"),
        read=lambda standing: standing.refused.items(),
    ),
    Family(
        kind=CounterMetricFamily,
        name="chargeback_pushes_accepted_total",
        help="Pushed bodies that were accepted: stored, or older than what was there.",
        labels=("outcome",),
        read=lambda standing: (((outcome,), count) for outcome, count in standing.accepted.items()),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_cluster_read_timestamp_seconds",
        help="When a table of the Kubernetes API, or the file in its place, was last read.",
        labels=("cluster", "table"),
        read=lambda standing: (
            ((standing.cluster, table), at / 1000) for table, at in standing.tables_read_ms.items()
        ),
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_rendered_timestamp_seconds",
        help="When this page was made; a scrape copies it.",
        labels=(),
        read=lambda standing: [((), standing.rendered_ms / 1000)],
    ),
    Family(
        kind=GaugeMetricFamily,
        name="chargeback_build_info",
        help="The version of the program.",
        labels=("version",),
        read=lambda _: [((version("gpu-chargeback"),), 1.0)],
    ),
)


class _Page:
    """A registry of one page: prometheus_client renders whatever `collect` yields."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    def collect(self) -> Iterator[Metric]:
        for family in FAMILIES:
            metric = family.kind(family.name, family.help, labels=family.labels)
            for labels, value in sorted(family.read(self._standing)):
                metric.add_metric(labels, value)
            yield metric


def render(standing: Standing) -> bytes:
    """The page in the Prometheus text format 0.0.4."""
    return generate_latest(_Page(standing))
