"""Each dashboard as Grafana reads it: well-formed, with stable names, and links that lead somewhere."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.dashboards.pages import NAMES, dashboard
from tests.dashboards.panels import panels

# For ever: bookmarks and links of others hang on them.
UIDS = {
    "chargeback": ("Chargeback", "gpu-chargeback"),
    "fleet": ("GPU fleet", "gpu-chargeback-fleet"),
    "namespace": ("GPU namespace", "gpu-chargeback-namespace"),
    "quotas": ("GPU quotas", "gpu-chargeback-quotas"),
    "service": ("Chargeback service", "gpu-chargeback-service"),
}
OWNERS = ["cluster", "cost_center", "team", "namespace", "period"]
VARIABLES = {
    "chargeback": OWNERS,
    "fleet": ["cluster", "node", "model"],
    "namespace": OWNERS,
    "quotas": OWNERS,
    "service": ["cluster"],
}
# Where All is each value there is to pick: agents know no owners, so `.*` would be everybody's namespaces.
ONE_BY_ONE = {("namespace", "namespace")}
PERIODS = {"today", "yesterday", "month", "last_month"}
SHAPES = {"stat", "bargauge", "timeseries", "table"}  # that every Grafana since 10 has


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def test_a_page_keeps_its_title_and_uid(name: str) -> None:
    page = dashboard(name)
    assert (page["title"], page["uid"]) == UIDS[name]
    assert "gpu-chargeback" in page["tags"]
    assert page["schemaVersion"] <= 42


def test_a_page_says_what_it_is_for(name: str) -> None:
    assert dashboard(name)["description"].endswith(".")


def test_variables_are_what_people_expect(name: str) -> None:
    datasource, *asked, page, runbook = dashboard(name)["templating"]["list"]
    assert (datasource["name"], datasource["type"]) == ("datasource", "datasource")
    assert [variable["name"] for variable in asked] == VARIABLES[name]
    assert [(each["name"], each["type"]) for each in (page, runbook)] == [("page", "textbox"), ("runbook", "textbox")]
    for variable in asked:
        assert variable["label"]
        if variable["name"] == "period":
            assert {option["value"] for option in variable["options"]} == PERIODS
            assert [part.split(" : ")[1] for part in variable["query"].split(", ")] == [
                option["value"] for option in variable["options"]
            ]
            assert variable["current"]["value"] == "month"
        else:
            assert (variable["multi"], variable["includeAll"]) == (True, True)
            assert variable.get("allValue") == (None if (name, variable["name"]) in ONE_BY_ONE else ".*")
            assert variable["datasource"]["uid"] == "${datasource}"


def test_every_variable_is_used_and_every_one_used_is_there(name: str) -> None:
    """Else a choice at the top would change nothing, or a query would hold a name that nothing fills in."""
    page = dashboard(name)
    there = {variable["name"] for variable in page["templating"]["list"]}
    texts = [target["expr"] for panel in panels(page) for target in panel["targets"]]
    texts += [variable.get("query") or "" for variable in page["templating"]["list"] if variable["type"] == "query"]
    texts += [panel["title"] for panel in panels(page)]
    texts += [link.get("url", "") for link in page["links"]]
    used = {match for text in texts for match in re.findall(r"\$\{?([a-z_]+)", text)}
    built_in = {each for each in used if each.startswith("__")}
    assert used - built_in == there - {"datasource"}


def test_every_panel_says_what_it_is(name: str) -> None:
    for panel in panels(dashboard(name)):
        assert panel["type"] in SHAPES
        assert panel["title"]
        assert panel["description"].endswith((".", "`")), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["legendFormat"], panel["title"]


def test_ids_and_titles_are_unique(name: str) -> None:
    rows = [panel for panel in dashboard(name)["panels"] if panel["type"] == "row"]
    every = rows + panels(dashboard(name))
    for key in ("id", "title"):
        assert [value for value, times in Counter(panel[key] for panel in every).items() if times > 1] == []


def test_queries_of_a_panel_have_names_of_their_own(name: str) -> None:
    for panel in panels(dashboard(name)):
        names = [target["refId"] for target in panel["targets"]]
        assert len(names) == len(set(names)), panel["title"]


def test_no_datasource_is_named_but_by_the_variable(name: str) -> None:
    for panel in panels(dashboard(name)):
        for holder in (panel, *panel["targets"]):
            assert holder["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]


def test_panels_lie_on_the_grid_and_not_on_each_other(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard(name)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_lines_of_panels_fill_the_page(name: str) -> None:
    """No hole in a line, so that a width that was mistyped is seen."""
    widths: Counter[int] = Counter()
    for panel in panels(dashboard(name)):
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"]):
            widths[y] += panel["gridPos"]["w"]
    assert set(widths.values()) == {24}


def test_a_page_leads_to_its_sisters_the_bill_and_the_runbook(name: str) -> None:
    sisters, bill, runbook = dashboard(name)["links"]
    assert (sisters["type"], sisters["tags"], sisters["includeVars"]) == ("dashboards", ["gpu-chargeback"], True)
    assert (bill["url"], runbook["url"]) == ("${page:raw}/", "${runbook:raw}")


def test_links_in_tables_lead_to_pages_and_variables_that_exist() -> None:
    """And hang on a column that is there."""
    variables_of = {uid: [*VARIABLES[name], "page", "runbook", "datasource"] for name, (_, uid) in UIDS.items()}
    drills = set()
    for name in NAMES:
        for panel in panels(dashboard(name)):
            for override in panel["fieldConfig"]["overrides"]:
                for link in _links(override):
                    renamed = panel["transformations"][-1]["options"]["renameByName"].values()
                    assert override["matcher"]["options"] in renamed, panel["title"]
                    if match := re.match(r"/d/([\w-]+)\?(.*)", link["url"]):
                        uid, query = match.groups()
                        carried = re.findall(r"var-(\w+)=|\$\{(\w+):queryparam\}", query)
                        assert {one or other for one, other in carried} <= set(variables_of[uid])
                        drills.add((name, uid))
                    else:
                        assert link["url"].startswith("${page:raw}/?month=")
    assert {("chargeback", "gpu-chargeback-namespace"), ("quotas", "gpu-chargeback-namespace")} <= drills


def _links(override: dict[str, Any]) -> list[dict[str, str]]:
    return [link for found in override["properties"] if found["id"] == "links" for link in found["value"]]


def test_the_document_names_every_page_and_its_file() -> None:
    text = (Path(__file__).parents[2] / "docs/dashboards.md").read_text()
    rows = re.findall(r"^\| ([\w ]+) \| `(\w+)\.json` \|", text, re.MULTILINE)
    assert sorted(rows) == sorted((title, name) for name, (title, _) in UIDS.items())
