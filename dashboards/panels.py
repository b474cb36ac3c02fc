"""The four shapes of panel this dashboard has. Title, description and unit are arguments without a default,
so that no panel can be built without them."""

from collections.abc import Sequence
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

# The lines the quota alerts draw.
ALMOST_FULL = 0.9
FULL = 1.0

# Names of the queries of one panel, which bound how many it may have.
REF_IDS = "ABCDEFGH"


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


def stat_panel(title: str, description: str, unit: str, query: Query, *, decimals: int = 2) -> Any:
    """One number now; with several currencies, one each."""
    panel = (
        stat.Panel()
        .text_mode(BigValueTextMode.VALUE_AND_NAME)
        .graph_mode(BigValueGraphMode.NONE)  # an instant query has no course to draw
        .reduce_options(_last())
        .thresholds(_plain_thresholds())
        .decimals(decimals)
        .with_target(_instant(query))
    )
    return _described(panel, title, description, unit)


def bar_panel(title: str, description: str, unit: str, query: Query, *, decimals: int = 2) -> Any:
    """One bar each, now; the longest is the largest."""
    panel = (
        bargauge.Panel()
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .thresholds(_plain_thresholds())
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
    saturation: bool = False,
) -> Any:
    """Lines over time, with a legend that shows where each stands now."""
    legend = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.TABLE)
    legend = legend.placement(LegendPlacement.RIGHT).calcs(["lastNotNull", "max"])
    panel = timeseries.Panel().axis_soft_min(0).legend(legend)
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(20)
    panel.thresholds(_saturation_thresholds() if saturation else _plain_thresholds())
    assert len(queries) <= len(REF_IDS)
    for ref_id, query in zip(REF_IDS, queries, strict=False):
        panel.with_target(_target(ref_id, query).range())
    return _described(panel, title, description, unit)


def table_panel(title: str, description: str, unit: str, keys: dict[str, str], columns: Sequence[Column]) -> Any:
    """A row for each combination of the labels `keys` (label to heading), a column for each number.

    Each column is a query of its own; Grafana's `merge` joins rows whose labels agree, so a row that one
    query lacks (a cost center that is new this month) has an empty cell and not a zero.
    """
    panel = table.Panel().show_header(True).thresholds(_plain_thresholds())
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


def _plain_thresholds() -> Any:
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([Threshold(value=None, color="blue")])


def _saturation_thresholds() -> Any:
    steps = [
        Threshold(value=None, color="green"),
        Threshold(value=ALMOST_FULL, color="yellow"),
        Threshold(value=FULL, color="red"),
    ]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
