"""The four shapes of panel these dashboards have. Title, description and unit are arguments without a default,
so that no panel can be built without them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueGraphMode,
    BigValueTextMode,
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

# Grafana's plain number with thousands separators: neither an amount, whose currency is a label and not a
# unit, nor GPU-hours, which its unit `h` would turn into weeks, has a unit of its own there.
PLAIN = "locale"
COUNT = "short"
RATIO = "percentunit"
SECONDS = "s"
BYTES = "bytes"
WATTS = "watt"
CELSIUS = "celsius"
INSTANT = "dateTimeFromNow"  # of a time in milliseconds

# Names of the queries of one panel, which bound how many it may have.
REF_IDS = "ABCDEFGHIJ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From where on a number is yellow, and from where on it is red; below, it is green."""

    warn: float
    bad: float


# The lines the quota alerts draw: almost full and full.
SATURATION = Limits(warn=0.9, bad=1.0)
# What should not be there at all, and what should be there and all right.
NONE_WANTED = Limits(warn=1, bad=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query and what its series are called."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One number column of a table."""

    title: str
    expr: str
    unit: str = PLAIN
    decimals: int = 2


def stat_panel(
    title: str, description: str, unit: str, query: Query, *, decimals: int = 2, limits: Limits | None = None
) -> Any:
    """One number now; with several currencies, one each."""
    panel = (
        stat.Panel()
        .text_mode(BigValueTextMode.VALUE_AND_NAME)
        .graph_mode(BigValueGraphMode.NONE)  # an instant query has no course to draw
        .reduce_options(_last())
        .thresholds(_thresholds(limits))
        .decimals(decimals)
        .with_target(_instant(query))
    )
    return _described(panel, title, description, unit)


def bar_panel(
    title: str, description: str, unit: str, query: Query, *, decimals: int = 2, limits: Limits | None = None
) -> Any:
    """One bar each, now; the longest is the largest."""
    panel = (
        bargauge.Panel()
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .thresholds(_thresholds(limits))
        .min(0)
        .reduce_options(_last())
        .decimals(decimals)
        .with_target(_instant(query))
    )
    return _described(panel, title, description, unit)


def line_panel(
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Query],
    *,
    stacked: bool = False,
    limits: Limits | None = None,
) -> Any:
    """Lines over time, with a legend that shows where each stands now."""
    legend = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.TABLE)
    legend = legend.placement(LegendPlacement.RIGHT).calcs(["lastNotNull", "max"])
    panel = timeseries.Panel().axis_soft_min(0).legend(legend)
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(20)
    panel.thresholds(_thresholds(limits))
    assert len(queries) <= len(REF_IDS)
    for ref_id, query in zip(REF_IDS, queries, strict=False):
        panel.with_target(_target(ref_id, query).range())
    return _described(panel, title, description, unit)


def table_panel(
    title: str,
    description: str,
    unit: str,
    keys: Mapping[str, str],
    columns: Sequence[Column],
    *,
    links: Mapping[str, Mapping[str, Any]] | None = None,
) -> Any:
    """A row for each combination of the labels `keys` (label to heading), a column for each number.

    Each column is a query of its own; Grafana's `merge` joins rows whose labels agree, so a row that one
    query lacks (a cost center that is new this month) has an empty cell and not a zero.

    links  by label, where its cells lead
    """
    panel = table.Panel().show_header(True).filterable(True).thresholds(_thresholds(None))
    names = dict(keys)
    assert len(columns) <= len(REF_IDS)
    for ref_id, column in zip(REF_IDS, columns, strict=False):
        panel.with_target(
            _target(ref_id, Query(expr=column.expr, legend=column.title)).format(PromQueryFormat.TABLE).instant()
        )
        names[f"Value #{ref_id}"] = column.title
        shown = [
            DynamicConfigValue(id_val="unit", value=column.unit),
            DynamicConfigValue(id_val="decimals", value=column.decimals),
        ]
        panel.override_by_name(column.title, shown)
    for label, link in (links or {}).items():
        panel.override_by_name(keys[label], [DynamicConfigValue(id_val="links", value=[dict(link)])])
    # With one query Grafana calls its numbers `Value` and not `Value #A`.
    if len(columns) == 1:
        names["Value"] = columns[0].title
    order = {name: place for place, name in enumerate(names)}
    panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    organize = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": names}
    panel.with_transformation(DataTransformerConfig(id_val="organize", options=organize))
    return _described(panel, title, description, unit)


def _described(panel: Any, title: str, description: str, unit: str) -> Any:
    return panel.title(title).description(description).unit(unit).datasource(DATASOURCE)


def _target(ref_id: str, query: Query) -> Any:
    return prometheus.Dataquery().ref_id(ref_id).expr(query.expr).legend_format(query.legend).datasource(DATASOURCE)


def _instant(query: Query) -> Any:
    return _target("A", query).instant()


def _last() -> Any:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def _thresholds(limits: Limits | None) -> Any:
    if limits is None:
        steps = [Threshold(value=None, color="blue")]
    else:
        steps = [Threshold(value=None, color="green"), Threshold(value=limits.bad, color="red")]
        if limits.warn < limits.bad:
            steps.insert(1, Threshold(value=limits.warn, color="yellow"))
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
