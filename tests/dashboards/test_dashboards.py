"""The dashboard as it is checked in: up to date, well-formed, portable, and about metrics that exist."""

import importlib.util
import json
import re
from collections import Counter
from typing import Any

import promql_parser
import pytest

from dashboards.build import TARGET, built
from tests.dashboards.panels import panel_queries, panels, substitute, variable_queries

# Units of Grafana's own list; another text would be shown as a suffix.
UNITS = {"locale", "short", "percentunit", "s"}

# Metrics of the programs that no panel shows, each with the reason.
NOT_SHOWN = {
    "chargeback_build_info": "a version is looked up, not watched",
    "chargeback_pushes_accepted_total": "the push ages say whether bodies arrive",
    "chargeback_budget_threshold": "an alert's matter: the panel shows how much of a budget is used",
    "chargeback_month_state": "`chargeback status` and the page say which month waits for whom",
    "chargeback_month_unclosed_seconds": "an alert's matter, as the state of months",
    "chargeback_owner_lookalikes": "`chargeback owners list` names them, once and for all",
    "chargeback_rendered_timestamp_seconds": "an alert's matter: a page that is stuck looks fresh on a dashboard",
}


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(TARGET.read_text(encoding="utf-8"))
    return found


def test_the_checked_in_json_is_what_the_source_builds() -> None:
    """After a change, run `python -m dashboards.build`."""
    assert TARGET.read_text(encoding="utf-8") == built()


def test_building_twice_gives_the_same_bytes() -> None:
    assert built() == built()


def test_every_query_parses(dashboard: dict[str, Any]) -> None:
    for query in panel_queries(dashboard):
        assert "$" not in query.expr, query
        promql_parser.parse(query.expr)


def test_every_variables_query_parses(dashboard: dict[str, Any]) -> None:
    for name, selector, label in variable_queries(dashboard):
        assert label == name
        promql_parser.parse(substitute(selector, {}))


def test_a_choice_of_several_values_parses_as_well(dashboard: dict[str, Any]) -> None:
    several = {name: ["a.b", "c|d"] for name in ("cluster", "cost_center", "team", "namespace")}
    for query in panel_queries(dashboard, several):
        promql_parser.parse(query.expr)


def test_the_page_is_read_only_and_has_its_own_uid(dashboard: dict[str, Any]) -> None:
    assert dashboard["editable"] is False
    assert (dashboard["title"], dashboard["uid"]) == ("Chargeback", "gpu-chargeback")


def test_variables_are_what_people_expect(dashboard: dict[str, Any]) -> None:
    datasource, *asked = dashboard["templating"]["list"]
    assert (datasource["name"], datasource["label"], datasource["type"]) == (
        "datasource",
        "Data source",
        "datasource",
    )
    assert [variable["name"] for variable in asked] == ["cluster", "cost_center", "team", "namespace"]
    for variable in asked:
        assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".*")
        assert variable["refresh"] == 2  # when the time range changes
        assert variable["datasource"]["uid"] == "${datasource}"


def test_every_panel_says_what_it_is(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["legendFormat"], panel["title"]


def test_ids_and_titles_are_unique(dashboard: dict[str, Any]) -> None:
    rows = [panel for panel in dashboard["panels"] if panel["type"] == "row"]
    every = rows + panels(dashboard)
    for key in ("id", "title"):
        assert [value for value, times in Counter(panel[key] for panel in every).items() if times > 1] == []


def test_no_datasource_is_named_but_by_the_variable(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        for holder in (panel, *panel["targets"]):
            assert holder["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]


def test_panels_lie_on_the_grid_and_not_on_each_other(dashboard: dict[str, Any]) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_no_gauge_is_added_up_before_replicas_are_made_one(dashboard: dict[str, Any]) -> None:
    """Every selector of a gauge stands directly inside `max without (instance, pod, job)`."""
    for query in panel_queries(dashboard):
        bare = re.sub(r"max without \(instance, pod, job\) \(chargeback_\w+\{[^}]*\}\)", "", query.expr)
        left_over = {name for name in _metric_names(query.expr) if name in bare}
        assert all(name.endswith("_total") for name in left_over), query


def test_money_is_always_grouped_by_currency(dashboard: dict[str, Any]) -> None:
    for query in panel_queries(dashboard):
        if "chargeback_cost{" in query.expr:
            assert re.search(r"sum by \([^)]*\bcurrency\)", query.expr), query


def test_counters_are_rated_over_grafanas_interval(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        for target in panel["targets"]:
            counters = re.findall(r"\w+_total\b[^\[)]*", target["expr"])
            assert all(f"{counter}[$__rate_interval]" in target["expr"] for counter in counters), panel["title"]


def test_every_metric_shown_exists(dashboard: dict[str, Any]) -> None:
    known = _known_names("chargeback.families") | _known_names("exporter.families")
    shown = {name for query in panel_queries(dashboard) for name in _metric_names(query.expr)}
    assert shown
    assert shown - known == set()


def test_every_metric_of_the_aggregator_is_shown_or_has_a_reason(dashboard: dict[str, Any]) -> None:
    shown = {name for query in panel_queries(dashboard) for name in _metric_names(query.expr)}
    assert _known_names("chargeback.families") - shown - NOT_SHOWN.keys() == set()


def test_every_label_picked_by_exists(dashboard: dict[str, Any]) -> None:
    """A matcher on a label that a metric lacks would pass for All, and hide everything for a choice."""
    families = pytest.importorskip("chargeback.families").FAMILIES
    labels = {family.name: set(family.labels) for family in families}
    for query in panel_queries(dashboard):
        for selector in _selectors(query.expr):
            assert {matcher.name for matcher in selector.matchers.matchers} <= labels[selector.name], query


def _metric_names(expr: str) -> set[str]:
    return {selector.name for selector in _selectors(expr)}


def _selectors(expr: str) -> list[promql_parser.VectorSelector]:
    found = []

    def note(node: Any) -> None:
        selector = node.vector_selector if isinstance(node, promql_parser.MatrixSelector) else node
        if isinstance(selector, promql_parser.VectorSelector):
            found.append(selector)

    promql_parser.walk(promql_parser.parse(expr), note)
    return found


def _known_names(module: str) -> set[str]:
    """The names in the program's own table of families."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not here yet")
    return {family.name for family in importlib.import_module(module).FAMILIES}
