"""Every panel of every dashboard, asked of a Prometheus that scrapes the demo: nothing refused, nothing empty."""

from __future__ import annotations

import time

from tests.dashboards.empty_on_the_demo import EMPTY_AT_FIRST, EMPTY_ON_THE_DEMO
from tests.dashboards.pages import NAMES, dashboard
from tests.dashboards.panels import PanelQuery, Value, first_choices, panel_queries, substitute, variable_queries
from tests.dashboards.selectors import metric_names
from tests.programs import wait_for
from tests.prometheus_server import PrometheusServer

# What a viewer of the demo may pick; of the four periods each.
CHOICE: dict[str, Value] = {
    "cluster": "demo",
    "cost_center": ["prod-001", "rd-001"],
    "team": "platform",
    "namespace": "ml-production",
    "node": "node-h100",
    "model": "NVIDIA H100 80GB HBM3",
}
PERIODS = ("today", "yesterday", "month", "last_month")


def opened(server: PrometheusServer, name: str) -> dict[str, Value]:
    """What the variables are when the page is opened. An All without a value of its own is each value there is."""
    choices = first_choices(dashboard(name))
    own = {each["name"]: each.get("allValue") for each in dashboard(name)["templating"]["list"]}
    for variable, selector, label in variable_queries(dashboard(name)):
        if own[variable] is None:
            values = server.wait_for(f"group by ({label}) ({substitute(selector, choices)})")
            choices[variable] = [each.labels[label] for each in values if label in each.labels]
    return choices


def check_variables(server: PrometheusServer) -> None:
    """Each has a value to pick."""
    for name in NAMES:
        choices = first_choices(dashboard(name))
        for _, selector, label in variable_queries(dashboard(name)):
            answer = server.wait_for(f"group by ({label}) ({substitute(selector, choices)})")
            assert any(sample.labels.get(label) for sample in answer), (name, label)


def check_panels(server: PrometheusServer) -> None:
    """Each query answers, but for those that have a reason not to: a list of these that is too long is wrong as well.

    A rate needs a beat of the agents after the first scrape, so some must be waited for.
    """
    for name in NAMES:
        for query in panel_queries(dashboard(name), opened(server, name)):
            place = (dashboard(name)["title"], query.panel, query.legend)
            if place in EMPTY_ON_THE_DEMO:
                assert server.query(query.expr) == [], place
            elif EMPTY_AT_FIRST & metric_names(query.expr):
                server.query(query.expr)  # raises where Prometheus cannot read it
            else:
                assert server.wait_for(query.expr), place


def check_choices(server: PrometheusServer) -> None:
    """Nothing that can be picked makes a query that Prometheus refuses; what is picked is what is shown."""
    for period in PERIODS:
        for name in NAMES:
            for query in panel_queries(dashboard(name), CHOICE | {"period": period}):
                for sample in server.query(query.expr):
                    if name == "namespace" and "namespace" in sample.labels:
                        assert sample.labels["namespace"] == "ml-production", (query.panel, sample)


def check_same(honoring: PrometheusServer, relabelling: PrometheusServer) -> None:
    """What each query names is the same on both, however our labels came through the scrape."""
    for name in NAMES:
        for query in panel_queries(dashboard(name), opened(honoring, name)):
            if "topk" in query.expr:
                continue  # which ones are most may change between two scrapes

            def alike(query: PanelQuery = query) -> bool:
                now_s = time.time()
                one, other = (
                    {frozenset(sample.labels.items()) for sample in server.query(query.expr, at_s=now_s)}
                    for server in (honoring, relabelling)
                )
                return one == other

            wait_for(f"{name}: {query.panel}", alike)
