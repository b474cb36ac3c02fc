"""The queries of all dashboards: about metrics and labels that exist, and true with more than one replica."""

import re

import promql_parser
import pytest

from chargeback.families import FAMILIES as AGGREGATOR
from exporter.families import FAMILIES as AGENT
from tests.dashboards.pages import NAMES, dashboard
from tests.dashboards.panels import panel_queries, substitute, variable_queries
from tests.dashboards.selectors import metric_names, selectors

# Metrics that no panel shows, each with the reason.
NOT_SHOWN = {
    "chargeback_budget_threshold": "an alert's matter: panels show how much of a budget is used",
    "chargeback_excess_gpu_seconds": "an alert's matter: the platform's accounts show it as `platform:difference`",
    "chargeback_unowned_gpu_seconds": "an alert's matter: the platform's accounts show it in money, by namespace",
    "gpu_ecc_lifetime_errors_total": "what a card once had is looked up, not watched",
    "gpu_energy_joules_total": "the driver's own counter; panels show the power now",
    "gpu_exporter_beat_lag_seconds": "the age of the last beat says it",
    "gpu_exporter_beats_total": "the age of the last beat says it",
    "gpu_exporter_clock_steps_back_total": "looked up when time went wrong",
    "gpu_exporter_denied_calls": "looked up when a figure is absent",
    "gpu_exporter_last_push_timestamp_seconds": "the aggregator's own push ages know silent agents too",
    "gpu_exporter_released": "driver work is planned, and shows as observed time",
    "gpu_exporter_spool_corrupt_files_total": "an alert's matter",
    "gpu_exporter_spool_write_failures_total": "an alert's matter",
    "gpu_exporter_unknown_devices": "passthrough and vGPU only: in no account",
    "gpu_idle_energy_joules_total": "panels show the power of cards, and that of holders",
    "gpu_memory_clock_hertz": "looked up when a card is slow",
    "gpu_nvlink_bytes_total": "only with --links=on",
    "gpu_pcie_bytes_per_second": "only with --links=on",
    "gpu_persistence_mode": "a setting, looked up",
    "gpu_power_limit_watts": "a setting, looked up",
    "gpu_row_remaps": "what is pending and what failed says it",
    "gpu_sm_clock_hertz": "throttling says why a card is slow",
    "gpu_unknown_device_held_seconds_total": "passthrough and vGPU only: in no account",
    "gpu_up": "missing cards say it, those included that the driver no longer lists",
    "process_max_fds": "looked up",
    "process_open_fds": "looked up",
    "process_start_time_seconds": "looked up",
    "process_virtual_memory_bytes": "resident memory is what a node has less of",
}

LABELS = {family.name: set(family.labels) for family in (*AGGREGATOR, *AGENT)}
# Which a scrape may give: our own pages have them, or have none by that name.
OF_THE_SCRAPE = {"cluster"}


@pytest.fixture(params=NAMES)
def queries(request: pytest.FixtureRequest) -> list[str]:
    return [query.expr for query in panel_queries(dashboard(request.param))]


def test_every_query_is_filled_in_and_parses(queries: list[str]) -> None:
    for query in queries:
        assert "$" not in query
        promql_parser.parse(query)


@pytest.mark.parametrize("name", NAMES)
def test_a_choice_of_several_values_parses_as_well(name: str) -> None:
    several = {each: ["a.b", "c|d"] for each in ("cluster", "cost_center", "team", "namespace", "node", "model")}
    for query in panel_queries(dashboard(name), several):
        promql_parser.parse(query.expr)


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_asks_for_values_of_its_own_label(name: str) -> None:
    for variable, selector, label in variable_queries(dashboard(name)):
        assert label == variable
        for found in selectors(substitute(selector, {})):
            for metric in [found.name] if found.name else ("chargeback_cost", "chargeback_quota_hard"):
                picked = {matcher.name for matcher in found.matchers.matchers if matcher.name != "__name__"}
                assert {label, *picked} <= LABELS[str(metric)] | OF_THE_SCRAPE


def test_every_metric_shown_exists(queries: list[str]) -> None:
    shown = {name for query in queries for name in metric_names(query)}
    assert shown
    assert shown - LABELS.keys() == set()


def test_every_metric_is_shown_or_has_a_reason() -> None:
    shown = {name for page in NAMES for query in panel_queries(dashboard(page)) for name in metric_names(query.expr)}
    assert LABELS.keys() - shown == NOT_SHOWN.keys()


def test_every_label_picked_by_exists(queries: list[str]) -> None:
    """A matcher on a label that a metric lacks would pass for All, and hide everything for a choice."""
    for query in queries:
        for selector in selectors(query):
            for matcher in selector.matchers.matchers:
                lacks = matcher.name not in LABELS[str(selector.name)]
                assert not lacks or (matcher.name in OF_THE_SCRAPE and matcher.value.endswith("|")), query


def test_every_label_grouped_by_exists(queries: list[str]) -> None:
    """In the query's metrics, or as one that every scrape gives."""
    for query in queries:
        known = {"instance"} | OF_THE_SCRAPE | {label for name in metric_names(query) for label in LABELS[name]}
        for labels in re.findall(r"\b(?:by|on|group_left) \(([^)]*)\)", query):
            assert set(filter(None, re.split(r",\s*", labels))) <= known, query


def test_nothing_is_added_up_before_replicas_are_made_one(queries: list[str]) -> None:
    """Every metric stands directly inside a `max`: of what each replica of the aggregator counts by itself, by
    instance."""
    alone = r"max (?:without|by) \([^)]*\) \((?:(?:rate|increase)\()?\w+\{[^}]*\}(?:\[[^\]]*\]\))?(?: == 1)?\)"
    for query in queries:
        bare = re.sub(alone, "", query)
        assert [name for name in metric_names(query) if re.search(rf"\b{name}\b", bare)] == [], query


def test_money_is_always_grouped_by_currency(queries: list[str]) -> None:
    for query in queries:
        for money in re.finditer(r"chargeback_(?:cost|budget\w*)\{", query):
            before = query[: money.start()]
            assert re.search(r"sum by \([^)]*\bcurrency\) \(max without \([^)]*\) \($", before), query


def test_periods_are_those_of_the_metric(queries: list[str]) -> None:
    """Money of all periods together is money four times over."""
    for query in queries:
        for selector in selectors(query):
            if selector.name in ("chargeback_cost", "chargeback_gpu_seconds"):
                picked = [each.value for each in selector.matchers.matchers if each.name == "period"]
                assert len(picked) == 1, query
                assert picked[0] in {"today", "yesterday", "month", "last_month"}, query
